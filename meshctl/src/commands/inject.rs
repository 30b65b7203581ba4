//! `meshctl inject`: manifests with sidecars, by the code of the webhook. Reads and prints; asks no cluster.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use mesh_controller::inject::{Injection, MODE, inject_object};
use mesh_controller::objects::meta::TextMap;
use mesh_controller::yaml;
use mesh_install::render::{NAME, NAMESPACE};
use mesh_install::{Values, manifest};
use mesh_model::{SpiffeId, TrustDomain};
use serde_json::Value;

use crate::terminal::print;

/// Arguments of `inject`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Manifests; `-` is standard input. Workloads get a sidecar unless a label says otherwise.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The image of the sidecars.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// The namespace of the controller.
    #[arg(long, default_value = NAMESPACE, value_name = "NAME")]
    namespace: String,
    /// The revision of the control plane.
    #[arg(long, default_value = "default", value_name = "NAME")]
    revision: String,
    /// The trust domain of all identities.
    #[arg(long, default_value = "cluster.local", value_name = "NAME")]
    trust_domain: TrustDomain,
}

/// Prints the manifests with sidecars. A document in which nothing changes stays as it was written.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let settings = Injection {
        controller_address: format!("{NAME}.{}.svc:15012", arguments.namespace),
        controller_identity: SpiffeId::for_service_account(
            &arguments.trust_domain,
            &arguments.namespace,
            NAME,
        )?,
        image: arguments.image.clone().unwrap_or_else(|| Values::default().image.proxy),
        revision: arguments.revision.clone(),
        trust_domain: arguments.trust_domain.clone(),
    };
    let mut documents = Vec::new();
    for file in &arguments.files {
        documents.extend(read(file)?);
    }
    let namespaces = namespaces(&documents);
    // Whoever injects by hand asks for it, unless the files say otherwise.
    let labels = |name: &str| {
        let mut labels = namespaces.get(name).cloned().unwrap_or_default();
        labels.entry(MODE.to_owned()).or_insert_with(|| "sidecar".to_owned());
        labels
    };
    let mut printed = Vec::new();
    for document in &documents {
        let injected = inject_object(&document.value, &labels, &settings)?;
        printed.push(injected.map_or_else(|| document.text.clone(), |object| manifest::document(&object)));
    }
    print(printed.join("---\n").trim_end());
    Ok(ExitCode::SUCCESS)
}

/// A document as it was written and as it was read.
struct Document {
    text: String,
    value: Value,
}

fn read(file: &Path) -> anyhow::Result<Vec<Document>> {
    let name = || file.display().to_string();
    let mut bytes = Vec::new();
    match file == Path::new("-") {
        true => std::io::stdin().read_to_end(&mut bytes).map(drop),
        false => std::fs::read(file).map(|read| bytes = read),
    }
    .with_context(name)?;
    let mut documents = Vec::new();
    for chunk in yaml::chunks(&bytes).map_err(|error| anyhow::anyhow!("{}: {error}", name()))? {
        // The marker is written anew between the documents.
        let body = chunk.text.strip_prefix("---").and_then(|rest| rest.split_once('\n'));
        let text = format!("{}\n", body.map_or(chunk.text, |(_, body)| body).trim_end());
        let Some(document) = chunk.parse() else { continue };
        let root = document.root.map_err(|error| anyhow::anyhow!("{}: {error}", name()))?;
        documents.push(Document { text, value: root.to_json() });
    }
    Ok(documents)
}

/// The labels of the namespaces that the files describe.
fn namespaces(documents: &[Document]) -> BTreeMap<String, TextMap> {
    let described = documents.iter().map(|document| &document.value).filter(|v| v["kind"] == "Namespace");
    let labels = |object: &Value| -> TextMap {
        let written = object["metadata"]["labels"].as_object().into_iter().flatten();
        written.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    };
    let named = |object: &Value| Some((object["metadata"]["name"].as_str()?.to_owned(), labels(object)));
    described.filter_map(named).collect()
}
