//! A configuration file: parsed, merged over another, decoded into a message.

use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;

use prost::{Message, Name};

use crate::diagnostic::Diagnostic;
use crate::rules::{self, Finding, FindingKind};
use crate::schema::{self, Field, MessageType};
use crate::transcode::{transcode, unknown_type};
use crate::tree::{self, Node, Value};

/// The notation of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// YAML as Envoy reads it.
    Yaml,
    /// JSON as protobuf reads it.
    Json,
}

/// One or more configuration texts, the later merged over the earlier.
pub struct Document {
    sources: Vec<Source>,
    warnings: Vec<Diagnostic>,
}

/// A text and the tree it stands for.
struct Source {
    file: Arc<str>,
    text: Arc<str>,
    root: Node,
}

/// A message, where each field of it stands in the text, and what to warn of.
#[derive(Debug)]
pub struct Decoded<M> {
    /// The message.
    pub message: M,
    /// From field paths to lines.
    pub source_map: SourceMap,
    /// Deprecated fields, keys that hide others, and the like.
    pub warnings: Vec<Diagnostic>,
}

/// Where the fields of a message stand in the texts it was read from.
pub struct SourceMap(Vec<Source>);

/// A place in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Location {
    /// The file as it was named to us.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// In characters from 1.
    pub column: u32,
    /// Whether the field itself is there, or this is the nearest that encloses it.
    pub exact: bool,
}

impl Format {
    /// By the ending of a file's name, as Envoy decides: all but `.yaml` and `.yml` is JSON.
    pub fn of_file(name: &str) -> Self {
        let extension = FilePath::new(name).extension().unwrap_or_default();
        if extension.eq_ignore_ascii_case("yaml") || extension.eq_ignore_ascii_case("yml") {
            Self::Yaml
        } else {
            Self::Json
        }
    }
}

impl Document {
    /// Parses a text. `file_name` is only for messages.
    ///
    /// # Errors
    /// The text is no YAML or JSON, or is too deep, or holds nothing.
    pub fn parse(text: &str, file_name: &str, format: Format) -> Result<Self, Vec<Diagnostic>> {
        let file: Arc<str> = file_name.into();
        let parsed = match format {
            Format::Yaml => tree::parse_yaml(text),
            Format::Json => tree::parse_json(text),
        };
        let at = |diagnostic: Diagnostic, line, column| diagnostic.at(&file, text, line, column);
        let parsed =
            parsed.map_err(|e| vec![at(Diagnostic::error("", e.message), e.line, e.column)])?;
        let root = parsed.root;
        if !matches!(root.value, Value::Map(_)) {
            let text = format!("expected a map at the top, found {}", root.describe());
            return Err(vec![at(Diagnostic::error("", text), root.line, root.column)]);
        }
        let warnings = parsed
            .passed_over
            .into_iter()
            .map(|e| at(Diagnostic::warning("", e.message), e.line, e.column))
            .collect();
        let source = Source { text: text.into(), file: Arc::clone(&file), root };
        Ok(Self { sources: vec![source], warnings })
    }

    /// Merges another document over this one, as `--config-yaml` over `-c`: scalars of the other
    /// win, messages merge field by field, lists are appended, map entries replaced.
    pub fn merge(&mut self, other: Self) {
        self.sources.extend(other.sources);
        self.warnings.extend(other.warnings);
    }

    /// Turns the text into a message and checks it: conversions, unknown fields, types inside
    /// `Any`, field rules.
    ///
    /// # Errors
    /// All errors there are, by file and line, with warnings among them.
    pub fn decode<M: Message + Name + Default>(self) -> Result<Decoded<M>, Vec<Diagnostic>> {
        let name = M::full_name();
        let (bytes, source_map, warnings) = self.encode(&name)?;
        match M::decode(bytes.as_slice()) {
            Ok(message) => Ok(Decoded { message, source_map, warnings }),
            Err(e) => Err(vec![Diagnostic::error("", format!("this is no {name}: {e}"))]),
        }
    }

    /// The bytes on the wire of any message the schema knows, without looking at field rules, and
    /// the errors of conversion: for texts that were not written to configure.
    pub fn encode_unchecked(&self, full_name: &str) -> (Vec<u8>, Vec<Diagnostic>) {
        match schema::message(full_name) {
            Some(message) => self.transcode(message),
            None => (Vec::new(), vec![unknown_type(full_name)]),
        }
    }

    fn transcode(&self, message: MessageType) -> (Vec<u8>, Vec<Diagnostic>) {
        let (mut bytes, mut diagnostics) = (Vec::new(), Vec::new());
        for source in &self.sources {
            // Messages one after the other on the wire are the messages merged.
            let (part, errors) = transcode(&source.root, message, &source.file, &source.text);
            bytes.extend(part);
            diagnostics.extend(errors);
        }
        (bytes, diagnostics)
    }

    /// As [`Self::decode`], for any message the schema knows: its bytes on the wire.
    ///
    /// # Errors
    /// As [`Self::decode`]; also if the schema does not know the type.
    pub fn encode(
        self,
        full_name: &str,
    ) -> Result<(Vec<u8>, SourceMap, Vec<Diagnostic>), Vec<Diagnostic>> {
        let Some(message) = schema::message(full_name) else {
            return Err(vec![unknown_type(full_name)]);
        };
        let (bytes, mut diagnostics) = self.transcode(message);
        diagnostics.extend(self.warnings);
        let source_map = SourceMap(self.sources);
        let findings = rules::check(message, &bytes);
        let all_deprecated = source_map.allows_all_deprecated();
        let fresh: Vec<Diagnostic> = findings
            .into_iter()
            .filter(|finding| !follows(finding, &diagnostics))
            .map(|finding| source_map.locate(diagnostic(finding, all_deprecated)))
            .collect();
        diagnostics.extend(fresh);
        diagnostics.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        if diagnostics.iter().any(Diagnostic::is_error) {
            return Err(diagnostics);
        }
        Ok((bytes, source_map, diagnostics))
    }
}

impl SourceMap {
    /// Where the field at `path` stands, such as `static_resources.clusters[3].connect_timeout`;
    /// where there is none, what encloses it. None only if there is no text at all.
    pub fn location(&self, path: &str) -> Option<Location> {
        let (source, place) = self.find(path)?;
        Some(Location {
            file: Arc::clone(&source.file),
            line: place.line,
            column: place.column,
            exact: place.exact,
        })
    }

    /// Gives a diagnostic the place its path leads to, and the line there.
    pub fn locate(&self, diagnostic: Diagnostic) -> Diagnostic {
        match self.find(&diagnostic.path) {
            Some((source, place)) => {
                diagnostic.at(&source.file, &source.text, place.line, place.column)
            }
            None => diagnostic,
        }
    }

    fn find(&self, path: &str) -> Option<(&Source, tree::Place)> {
        let roots: Vec<&Node> = self.0.iter().map(|source| &source.root).collect();
        let place = tree::find(&roots, path)?;
        Some((self.0.get(place.tree)?, place))
    }

    /// Whether a static layer of the runtime lets deprecated features pass that are switched off.
    fn allows_all_deprecated(&self) -> bool {
        self.0.iter().any(|source| {
            let layers = source.root.get("layered_runtime").and_then(|node| node.get("layers"));
            let Some(Node { value: Value::List(layers), .. }) = layers else { return false };
            layers.iter().filter_map(|layer| layer.get("static_layer")).any(|layer| {
                layer.get(ALLOW_DEPRECATED).is_some_and(|node| node.value == Value::Bool(true))
            })
        })
    }
}

/// Envoy's runtime key that lets every deprecated feature pass.
const ALLOW_DEPRECATED: &str = "envoy.features.enable_all_deprecated_features";

impl fmt::Debug for SourceMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<&str> = self.0.iter().map(|source| &*source.file).collect();
        f.debug_tuple("SourceMap").field(&files).finish()
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<&str> = self.sources.iter().map(|source| &*source.file).collect();
        f.debug_tuple("Document").field(&files).finish()
    }
}

/// A finding as a diagnostic without a place.
fn diagnostic(finding: Finding, allow_deprecated: bool) -> Diagnostic {
    let Finding { kind, path, message, .. } = finding;
    match kind {
        FindingKind::Deprecated => Diagnostic::warning(path, message),
        FindingKind::Disallowed if allow_deprecated => Diagnostic::warning(path, message),
        FindingKind::Disallowed => Diagnostic::error(path, message)
            .allowed(format!("nothing, unless the runtime has {ALLOW_DEPRECATED}: true")),
        _ => Diagnostic::error(path, message),
    }
}

/// Whether a finding only follows from an error already reported: the field it misses was written
/// wrongly.
fn follows(finding: &Finding, errors: &[Diagnostic]) -> bool {
    errors.iter().filter(|error| error.is_error()).any(|error| {
        if let Some(rest) = finding.path.strip_prefix(error.path.as_str())
            && (rest.is_empty() || rest.starts_with(['.', '[']))
        {
            return true;
        }
        let Some(meant) = error.suggestion.as_deref() else { return false };
        let parent = error.path.rsplit_once('.').map_or("", |(parent, _)| parent);
        match finding.kind {
            FindingKind::OneofRequired(message, oneof) => {
                finding.path == parent
                    && message.field_named(meant).and_then(Field::oneof_index) == Some(oneof)
            }
            _ => {
                finding.path.strip_prefix(parent).map(|rest| rest.trim_start_matches('.'))
                    == Some(meant)
            }
        }
    })
}
