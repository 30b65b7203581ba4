//! The programs that are built with Go, each from a `go.mod` of its own below `conformance/go`, since they do not
//! agree on versions. Built once and kept in the cache.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::config::Config;
use crate::say;
use crate::step::{command, output, succeed};
use crate::tools;

/// A program and how it is built.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its name in the cache.
    name: &'static str,
    /// The version in the cache's folder name: the one of the module that matters.
    version: &'static str,
    /// Its folder below `conformance/go`.
    folder: &'static str,
    package: &'static str,
    /// What the linker is told beside `-s -w`.
    link: &'static str,
    /// Whether the package's tests are the program.
    tests: bool,
}

const KUBERNETES_LINK: &str = "-X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 \
    -X k8s.io/component-base/version.gitTreeState=clean \
    -X k8s.io/component-base/version.gitCommit=0000000000000000000000000000000000000000";

/// All programs of Kubernetes in one.
pub(crate) const KUBERNETES: Program = Program {
    name: "kubernetes",
    version: "1.36.3",
    folder: "kubernetes",
    package: ".",
    link: KUBERNETES_LINK,
    tests: false,
};
/// The upstream suite, unmodified.
pub(crate) const SUITE: Program = Program {
    name: "gateway-api-suite",
    version: "1.7.0",
    folder: "suite",
    package: "sigs.k8s.io/gateway-api/conformance",
    link: "",
    tests: true,
};
/// The suite's usual backend.
pub(crate) const ECHO_BASIC: Program = Program {
    name: "echo-basic",
    version: "0.1.0",
    folder: "echo-basic",
    package: "sigs.k8s.io/gateway-api-conformance-images/echo-basic",
    link: "",
    tests: false,
};
/// The suite's backend in a mesh.
pub(crate) const ECHO_SERVER: Program = Program {
    name: "echo-advanced-server",
    version: "0.1.0",
    folder: "echo-advanced",
    package: "istio.io/istio/pkg/test/echo/cmd/server",
    link: "",
    tests: false,
};
/// The client that the suite runs in that backend's pods.
pub(crate) const ECHO_CLIENT: Program = Program {
    name: "echo-advanced-client",
    package: "istio.io/istio/pkg/test/echo/cmd/client",
    ..ECHO_SERVER
};
/// Helm, in the two versions that charts are installed with today.
pub(crate) const HELM: [Program; 2] = [
    Program {
        name: "helm3",
        version: "3.22.0",
        folder: "helm3",
        package: "helm.sh/helm/v3/cmd/helm",
        link: "-X helm.sh/helm/v3/internal/version.version=v3.22.0",
        tests: false,
    },
    Program {
        name: "helm4",
        version: "4.3.1",
        folder: "helm4",
        package: "helm.sh/helm/v4/cmd/helm",
        link: "-X helm.sh/helm/v4/internal/version.version=v4.3.1",
        tests: false,
    },
];
/// The cluster's DNS.
pub(crate) const COREDNS: Program =
    Program { name: "coredns", version: "1.15.0", folder: "coredns", package: ".", link: "", tests: false };

/// An application with an identity of its own.
pub(crate) const SPIFFE: Program =
    Program { name: "spiffe", version: "2.9.0", folder: "spiffe", package: ".", link: "", tests: false };

/// What HTTP/2 is tested with, server and client of anyone.
const H2SPEC: Program = Program {
    name: "h2spec",
    version: "2.2.1",
    folder: "h2spec",
    package: "github.com/summerwind/h2spec/cmd/h2spec",
    link: "",
    tests: false,
};

/// The programs that tests outside of a cluster use.
pub(crate) const TOOLS: &[Program] = &[H2SPEC];

impl Program {
    /// Its name alone.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Name and version.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// The built program; builds it when the cache has none for these sources.
    ///
    /// # Errors
    /// When Go is missing or the build fails.
    pub(crate) fn build(&self, config: &Config) -> anyhow::Result<PathBuf> {
        let sources = config.root.join("conformance/go").join(self.folder);
        let home = config.cache.join(self.name).join(format!("{}-{}", self.version, self.key(&sources)?));
        let built = home.join(self.name);
        if built.is_file() {
            return Ok(built);
        }
        say(&format!("building {} {} (kept in {})", self.name, self.version, home.display()));
        std::fs::create_dir_all(&home).with_context(|| home.display().to_string())?;
        let partial = home.join("partial");
        let mut call = command(tools::go(config)?, if self.tests { &["test", "-c"] } else { &["build"] });
        call.args(["-p", "2", "-trimpath", "-mod=readonly", "-ldflags"]).arg(format!("-s -w {}", self.link));
        call.arg("-o").arg(&partial).arg(self.package).current_dir(&sources);
        for (name, value) in
            [("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", ""), ("GOWORK", "off")]
        {
            call.env(name, value);
        }
        succeed(call)?;
        std::fs::rename(&partial, &built).with_context(|| built.display().to_string())?;
        Ok(built)
    }

    fn key(&self, sources: &Path) -> anyhow::Result<String> {
        let mut parts = vec![tools::GO.into(), self.package.into(), self.link.into()];
        for file in ["go.mod", "go.sum", "main.go"] {
            let file = sources.join(file);
            if file.is_file() {
                parts.push(std::fs::read(&file).with_context(|| file.display().to_string())?);
            }
        }
        Ok(tools::key(parts.iter().map(Vec::as_slice)))
    }
}

/// The folder of an unpacked module that one of our `go.mod` files asks for.
///
/// # Errors
/// When Go is missing or the module cannot be had.
pub(crate) fn module(config: &Config, folder: &str, module: &str) -> anyhow::Result<PathBuf> {
    let go = tools::go(config)?;
    let sources = config.root.join("conformance/go").join(folder);
    let ask = |arguments: &[&str]| {
        let mut call = command(&go, arguments);
        call.current_dir(&sources)
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "-mod=readonly")
            .env("GOWORK", "off");
        output(call)
    };
    ask(&["mod", "download", module])?;
    Ok(PathBuf::from(ask(&["list", "-m", "-f", "{{.Dir}}", module])?.trim()))
}
