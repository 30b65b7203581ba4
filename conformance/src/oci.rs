//! Container images as archives that a runtime can load: one layer, written from files. Which images there are is
//! decided elsewhere.

use std::path::Path;

use anyhow::Context;
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

/// A file of an image.
#[derive(Debug)]
pub(crate) struct File {
    /// Its place in the image, without a leading slash.
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) content: Vec<u8>,
}

impl File {
    /// A program or library.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn program(path: &str, from: &Path) -> anyhow::Result<Self> {
        let content = std::fs::read(from).with_context(|| from.display().to_string())?;
        Ok(Self { path: path.trim_start_matches('/').to_owned(), mode: 0o755, content })
    }
}

/// An image to be.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    /// Every name it is loaded under.
    pub(crate) names: &'a [&'a str],
    pub(crate) entrypoint: &'a str,
    /// User and group; empty is root.
    pub(crate) user: &'a str,
    pub(crate) files: Vec<File>,
}

/// Writes an image as an OCI layout in one archive.
///
/// # Errors
/// When the archive cannot be written.
pub(crate) fn write(image: &Image<'_>, to: &Path) -> anyhow::Result<()> {
    let layer = layer(&image.files)?;
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": image.user,
            "Entrypoint": [image.entrypoint],
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [name_of(&layer)]},
    });
    let config = serde_json::to_vec(&config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = serde_json::to_vec(&manifest)?;
    let named = image.names.iter().map(|name| {
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["annotations"] = json!({"io.containerd.image.name": name});
        entry
    });
    let index = json!({"schemaVersion": 2, "manifests": named.collect::<Vec<Value>>()});
    let mut archive = Vec::with_capacity(layer.len() + 65_536);
    entry(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    entry(&mut archive, "index.json", 0o644, &serde_json::to_vec(&index)?)?;
    for blob in [&config, &manifest, &layer] {
        entry(&mut archive, &format!("blobs/{}", name_of(blob).replace(':', "/")), 0o644, blob)?;
    }
    archive.resize(archive.len() + 1024, 0);
    let partial = to.with_extension("partial");
    std::fs::write(&partial, archive).with_context(|| partial.display().to_string())?;
    std::fs::rename(&partial, to).with_context(|| to.display().to_string())
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "x86_64" => "amd64",
        other => other,
    }
}

fn layer(files: &[File]) -> anyhow::Result<Vec<u8>> {
    let mut layer = Vec::new();
    folder(&mut layer, "tmp/", 0o1777)?;
    for file in files {
        entry(&mut layer, &file.path, file.mode, &file.content)?;
    }
    layer.resize(layer.len() + 1024, 0);
    Ok(layer)
}

fn descriptor(media: &str, content: &[u8]) -> Value {
    json!({"mediaType": media, "digest": name_of(content), "size": content.len()})
}

fn name_of(content: &[u8]) -> String {
    let digits: String = digest(&SHA256, content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

fn entry(archive: &mut Vec<u8>, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    archive.extend(header(path, mode, content.len(), b'0')?);
    archive.extend(content);
    let padding = content.len().next_multiple_of(512) - content.len();
    archive.resize(archive.len() + padding, 0);
    Ok(())
}

fn folder(archive: &mut Vec<u8>, path: &str, mode: u32) -> anyhow::Result<()> {
    archive.extend(header(path, mode, 0, b'5')?);
    Ok(())
}

/// A header of the ustar format. All times are zero and all owners root, so that equal files make equal images.
fn header(path: &str, mode: u32, size: usize, kind: u8) -> anyhow::Result<[u8; 512]> {
    let mut header = [0_u8; 512];
    let mut put = |from: usize, text: &str| {
        if let Some(field) = header.get_mut(from..from + text.len()) {
            field.copy_from_slice(text.as_bytes());
        }
    };
    anyhow::ensure!(path.len() < 100, "{path}: too long for an archive");
    put(0, path);
    put(100, &format!("{mode:07o}\0{:07o}\0{:07o}\0{size:011o}\0{:011o}\0        ", 0, 0, 0));
    put(257, "ustar\x0000");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    if let Some(field) = header.get_mut(148..156) {
        field.copy_from_slice(sum.as_bytes());
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{File, Image, write};

    /// Read by a program that is not ours.
    #[test]
    fn tar_lists_what_was_written() {
        let folder = std::env::temp_dir().join(format!("conformance-oci-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let archive = folder.join("a.tar");
        let file = File { path: "usr/bin/a".to_owned(), mode: 0o755, content: vec![7; 700] };
        let image = Image {
            names: &["a.test/a:1", "a.test/a:2"],
            entrypoint: "/usr/bin/a",
            user: "",
            files: vec![file],
        };
        write(&image, &archive).unwrap();
        let tar = |arguments: &[&str]| {
            let output = Command::new("tar").args(arguments).current_dir(&folder).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let listed = tar(&["-tvf", "a.tar"]);
        let index = tar(&["-xOf", "a.tar", "index.json"]);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(listed.lines().count(), 5, "{listed}");
        assert_eq!(index.matches("io.containerd.image.name").count(), 2, "{index}");
    }
}
