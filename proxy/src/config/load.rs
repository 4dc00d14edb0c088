//! Reading a configuration: file, flags, plan.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use ringway_xds::api::envoy::config::bootstrap::v3::Bootstrap;
use ringway_xds::{Diagnostic, Document, Format, SourceMap};

use super::compile::{Compiled, Compiler, Dynamic, Invalid, Kind};
use super::{Admin, Node};
use crate::cli::Options;
use crate::control::log;
use crate::observe::stats::Registry;
use crate::plan::Plan;

/// A configuration that can be served.
#[derive(Debug)]
pub struct Loaded {
    /// The bootstrap as it was read, on the wire: decoded only by whoever dumps it, for the message
    /// itself is many times larger.
    pub bootstrap: Box<[u8]>,
    /// What shards work by.
    pub plan: Plan,
    /// `admin`.
    pub admin: Option<Admin>,
    /// `node`, with the flags that override it.
    pub node: Node,
    /// `stats_flush_interval`.
    pub stats_flush_interval: Duration,
    /// What comes later, and from where.
    pub dynamic: Dynamic,
    /// `application_log_config.log_format`
    pub log_format: Option<String>,
    /// Compiles what comes later.
    pub compiler: Compiler,
    /// Deprecated fields and the like.
    pub warnings: Diagnostics,
}

/// What is wrong with a configuration, or doubtful in it; by file and line.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics(pub Vec<Diagnostic>);

/// Reads, merges, checks and compiles the configuration the options name, for `shards` shards.
///
/// # Errors
/// All there are: files that cannot be read, texts that are no YAML or JSON, fields that break the
/// schema or its rules, references to nothing, and what is not supported yet.
pub fn load(
    options: &Options,
    shards: usize,
    registry: &mut Registry,
) -> Result<Loaded, Diagnostics> {
    let document = documents(options)?;
    load_document(document, options, shards, registry)
}

/// As [`load`], for a text that is at hand. `name` is for messages.
///
/// # Errors
/// As [`load`].
pub fn load_text(
    text: &str,
    name: &str,
    format: Format,
    shards: usize,
    registry: &mut Registry,
) -> Result<Loaded, Diagnostics> {
    let document = Document::parse(text, name, format).map_err(Diagnostics)?;
    let options = Options::from_arguments([])
        .map_err(|error| Diagnostics(vec![Diagnostic::error("", error.to_string())]))?;
    load_document(document, &options, shards, registry)
}

fn load_document(
    document: Document,
    options: &Options,
    shards: usize,
    registry: &mut Registry,
) -> Result<Loaded, Diagnostics> {
    const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";
    let (bytes, source_map, mut warnings) = document.encode(BOOTSTRAP).map_err(Diagnostics)?;
    let bootstrap = Bootstrap::decode(bytes.as_slice()).map_err(|error| {
        Diagnostics(vec![Diagnostic::error("", format!("this is no {BOOTSTRAP}: {error}"))])
    })?;
    let both = bootstrap.application_log_config.as_ref().is_some_and(|c| c.log_format.is_some());
    if both && options.log_format != log::DEFAULT_FORMAT {
        let message = "Only one of ApplicationLogConfig.log_format or CLI option --log-format can \
                       be specified.";
        let path = "application_log_config.log_format";
        return Err(Diagnostics(vec![source_map.locate(Diagnostic::error(path, message))]));
    }
    let compiler = Compiler::new(shards, options.reject_unknown_dynamic_fields);
    let (compiled, findings) = compiler.bootstrap(&bootstrap, registry);
    drop(bootstrap);
    warnings.extend(findings.into_iter().map(|finding| diagnostic(&source_map, finding)));
    warnings.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    if options.skip_deprecated_logs {
        warnings.retain(Diagnostic::is_error);
    }
    let warnings = Diagnostics(warnings);
    let Some(compiled) = compiled else {
        return Err(warnings);
    };
    let Compiled { plan, admin, node, stats_flush_interval, dynamic, log_format, compiler } =
        compiled;
    let bootstrap = bytes.into_boxed_slice();
    let node = node_with_flags(node, options);
    Ok(Loaded {
        bootstrap,
        plan,
        admin,
        node,
        stats_flush_interval,
        dynamic,
        log_format,
        compiler,
        warnings,
    })
}

fn documents(options: &Options) -> Result<Document, Diagnostics> {
    let mut document = None;
    let mut errors = Vec::new();
    let path = options.config_path.as_str();
    if !path.is_empty() {
        match read(path) {
            Ok(read) => document = Some(read),
            Err(found) => errors.extend(found),
        }
    }
    if !options.config_yaml.is_empty() {
        match (Document::parse(&options.config_yaml, "--config-yaml", Format::Yaml), &mut document)
        {
            (Ok(inline), Some(document)) => document.merge(inline),
            (Ok(inline), None) => document = Some(inline),
            (Err(found), _) => errors.extend(found),
        }
    }
    match document {
        Some(document) if errors.is_empty() => Ok(document),
        None if errors.is_empty() => {
            let message = "no configuration: give a file with -c (--config-path) or a text with \
                           --config-yaml";
            Err(Diagnostics(vec![Diagnostic::error("", message)]))
        }
        _ => Err(Diagnostics(errors)),
    }
}

fn read(path: &str) -> Result<Document, Vec<Diagnostic>> {
    let failed = |message: String| {
        let mut diagnostic = Diagnostic::error("", message);
        diagnostic.file = Arc::from(path);
        vec![diagnostic]
    };
    if path.ends_with(".pb") || path.ends_with(".pb_text") {
        let message = "a configuration in protobuf's own formats is not supported yet";
        return Err(failed(message.to_owned()));
    }
    let bytes = std::fs::read(path).map_err(|error| failed(format!("cannot read it: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        failed(format!("it is not UTF-8: byte {}", error.utf8_error().valid_up_to()))
    })?;
    Document::parse(&text, path, Format::of_file(path))
}

fn node_with_flags(node: Node, options: &Options) -> Node {
    let pick = |flag: &str, own: String| if flag.is_empty() { own } else { flag.to_owned() };
    Node {
        id: pick(&options.service_node, node.id),
        cluster: pick(&options.service_cluster, node.cluster),
        zone: pick(&options.service_zone, node.zone),
        ..node
    }
}

/// A finding of the compiler, at its place in the text.
fn diagnostic(source_map: &SourceMap, finding: Invalid) -> Diagnostic {
    let Invalid { kind, path, message, allowed, hint } = finding;
    let diagnostic = match kind {
        Kind::Invalid | Kind::Unsupported => Diagnostic::error(path, message),
        Kind::Warning => Diagnostic::warning(path, message),
    };
    let diagnostic = match allowed {
        Some(allowed) => diagnostic.allowed(allowed),
        None => diagnostic,
    };
    source_map.locate(diagnostic.suggestion(hint))
}

impl Diagnostics {
    /// Number of errors.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|diagnostic| diagnostic.is_error()).count()
    }

    /// For programs: `{"valid": …, "diagnostics": […]}`.
    pub fn to_json(&self) -> String {
        let value = serde_json::json!({
            "valid": self.errors() == 0,
            "diagnostics": self.0,
        });
        format!("{value:#}")
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|diagnostic| writeln!(f, "{diagnostic}"))
    }
}

impl std::error::Error for Diagnostics {}
