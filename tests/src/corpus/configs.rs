//! Bootstraps that Envoy accepted or rejected: what does `--mode validate` say of each?

use crate::bins;
use crate::proxy::{self, Kind};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Longest time for one file.
const PATIENCE: Duration = Duration::from_secs(20);

/// A recorded configuration.
#[derive(Clone, Debug)]
pub struct Row {
    /// Path in the corpus.
    pub file: String,
    /// `tier 1, plain HTTP/1`, `tier 1, more`, `later tiers`, or the class of the rejection.
    pub class: String,
    /// Whether Envoy accepts it.
    pub accepted: bool,
    /// Envoy's words when it does not.
    pub error: String,
}

/// What was said of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Exit code 0.
    Accepted,
    /// Rejected only for what is not supported yet.
    Unsupported(String),
    /// Rejected; the errors, one per line.
    Rejected(String),
    /// Neither exit code 0 nor 1, or no end in time.
    Broken(String),
}

/// A judged file.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What was recorded.
    pub row: Row,
    /// What was said now.
    pub answer: Answer,
    /// Whether the errors name the field that Envoy names; `None` when Envoy names none.
    pub names_field: Option<bool>,
}

/// Reads both tables.
///
/// # Errors
/// A table is missing or damaged.
pub fn rows(corpus: &Path) -> Result<Vec<Row>> {
    let table = |name: &str| -> Result<Vec<Vec<String>>> {
        let text = fs::read_to_string(corpus.join(name)).with_context(|| name.to_owned())?;
        let split = |line: &str| line.split('\t').map(str::to_owned).collect();
        Ok(text.lines().skip(1).map(split).collect())
    };
    let column = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
    let good = table("index.tsv")?.into_iter().map(|row| Row {
        file: column(&row, 0),
        class: class(&column(&row, 1), &column(&row, 7), &column(&row, 8)).to_owned(),
        accepted: true,
        error: String::new(),
    });
    let bad = table("negative.tsv")?.into_iter().map(|row| Row {
        file: column(&row, 0),
        class: column(&row, 1),
        accepted: false,
        error: column(&row, 5),
    });
    Ok(good.chain(bad).filter(|row| !row.file.is_empty()).collect())
}

/// Whether a configuration needs only what a plain HTTP/1.1 proxy has (by its extension types,
/// cluster types and load balancers; single fields may still ask for more), is of tier 1, or later.
fn class(tier_1: &str, types: &str, names: &str) -> &'static str {
    const TYPES: [&str; 6] = [
        "http_connection_manager.v3.HttpConnectionManager",
        "http.router.v3.Router",
        "access_loggers.file.v3.FileAccessLog",
        "access_loggers.stream.v3.StdoutAccessLog",
        "access_loggers.stream.v3.StderrAccessLog",
        "upstreams.http.v3.HttpProtocolOptions",
    ];
    const NAMES: [&str; 6] =
        ["STATIC", "STRICT_DNS", "LOGICAL_DNS", "ROUND_ROBIN", "LEAST_REQUEST", "RANDOM"];
    let plain_type = |name: &str| TYPES.iter().any(|known| name.ends_with(known));
    let plain_name = |name: &str| match name.split_once(':') {
        Some(("lb" | "cluster", kind)) => NAMES.contains(&kind),
        _ => true,
    };
    if tier_1 != "yes" {
        "later tiers"
    } else if types.split_whitespace().all(plain_type) && names.split_whitespace().all(plain_name) {
        "tier 1, plain HTTP/1"
    } else {
        "tier 1, more"
    }
}

/// Validates every `step`-th configuration with `kind`.
///
/// # Errors
/// The corpus is damaged, or there is no binary.
pub fn run(kind: Kind, corpus: &Path, step: usize) -> Result<Vec<Judged>> {
    let rows: Vec<Row> = rows(corpus)?.into_iter().step_by(step).collect();
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let mut judged = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let work = || -> Result<Vec<Judged>> {
            let dir = proxy::new_dir()?;
            let mut judged = Vec::new();
            while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answer = validate(kind, corpus, row, &dir)?;
                let names_field = names_field(row, &answer);
                judged.push(Judged { row: row.clone(), answer, names_field });
            }
            fs::remove_dir_all(&dir).ok();
            Ok(judged)
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            judged.extend(worker.join().unwrap_or_else(|_| panic!("a worker panicked"))?);
        }
        Ok(())
    })?;
    judged.sort_by(|a, b| a.row.file.cmp(&b.row.file));
    Ok(judged)
}

fn validate(kind: Kind, corpus: &Path, row: &Row, dir: &Path) -> Result<Answer> {
    let source = corpus.join(&row.file);
    let text = fs::read(&source).with_context(|| row.file.clone())?;
    let support = corpus.canonicalize()?.join("_support");
    let text = String::from_utf8_lossy(&text).replace("$SUPPORT", &support.to_string_lossy());
    let name =
        source.extension().map_or_else(|| "yaml".into(), |e| e.to_string_lossy().into_owned());
    let file = dir.join(format!("config.{name}"));
    fs::write(&file, text)?;
    let output = dir.join("output");
    let mut command = command(kind)?;
    let mut child = command
        .args(["--mode", "validate", "-c"])
        .arg(&file)
        .args(["--service-node", "n", "--service-cluster", "c", "--service-zone", "z"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(File::create(&output)?)
        .stderr(File::create(dir.join("stderr"))?)
        .spawn()?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                child.kill()?;
                child.wait()?;
                return Ok(Answer::Broken("no end in time".into()));
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    Ok(match status.code() {
        Some(0) => Answer::Accepted,
        Some(1) => rejected(&fs::read_to_string(&output).unwrap_or_default()),
        _ => Answer::Broken(format!("{status}: {}", tail(&dir.join("stderr")))),
    })
}

fn command(kind: Kind) -> Result<Command> {
    let path: PathBuf = match kind {
        Kind::Envoy => bins::envoy(),
        Kind::Ringway(_) => bins::ringway(),
    }
    .map_err(anyhow::Error::msg)?;
    let mut command = Command::new(path);
    if kind != Kind::Envoy {
        command.args(["--validate-output", "json"]);
    }
    Ok(command)
}

fn tail(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().rev().take(3).collect::<Vec<_>>().join(" / ")
}

/// The errors of the JSON answer: objects with `severity`, `path`, `line`, `message`, wherever in
/// the document.
fn rejected(output: &str) -> Answer {
    let mut errors = Vec::new();
    match serde_json::from_str::<Value>(output) {
        Ok(document) => collect(&document, &mut errors),
        Err(_) => return Answer::Rejected(output.trim().to_owned()),
    }
    let unsupported = |error: &String| error.contains("not supported yet");
    if !errors.is_empty() && errors.iter().all(unsupported) {
        return Answer::Unsupported(errors.join("\n"));
    }
    Answer::Rejected(errors.join("\n"))
}

fn collect(value: &Value, errors: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, errors)),
        Value::Object(fields) => {
            if fields.get("severity").is_some_and(|severity| severity == "error") {
                let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or("");
                let line = fields.get("line").and_then(Value::as_u64).unwrap_or(0);
                errors.push(format!("line {line} {}: {}", text("path"), text("message")));
            } else {
                fields.values().for_each(|field| collect(field, errors));
            }
        }
        _ => {}
    }
}

/// Whether the errors name the field that Envoy's error is about.
fn names_field(row: &Row, answer: &Answer) -> Option<bool> {
    let (Answer::Rejected(errors) | Answer::Unsupported(errors)) = answer else { return None };
    let field = envoys_field(&row.error)?;
    Some(errors.contains(&field))
}

/// The innermost field in Envoy's words: `FooValidationError.BarBaz[0]: …` or `no such field: 'x'`.
fn envoys_field(error: &str) -> Option<String> {
    if let Some((_, rest)) = error.split_once("no such field: '") {
        return rest.split_once('\'').map(|(name, _)| name.to_owned());
    }
    let (_, rest) = error.rsplit_once("ValidationError.")?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric())?;
    let mut name = String::new();
    let mut before_upper = true;
    for c in rest[..end].chars() {
        if c.is_ascii_uppercase() && !before_upper {
            name.push('_');
        }
        before_upper = c.is_ascii_uppercase();
        name.push(c.to_ascii_lowercase());
    }
    Some(name)
}

/// The figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Per class: files, as Envoy, not supported yet, otherwise, naming the field, with a field.
    pub classes: BTreeMap<String, [usize; 6]>,
    /// Files that Envoy rejects for a rule of the configuration, and that were accepted.
    pub wrongly_accepted: Vec<String>,
    /// Files whose validation crashed or hung.
    pub broken: Vec<String>,
}

/// Counts.
#[must_use]
pub fn figures(judged: &[Judged]) -> Figures {
    let mut figures = Figures::default();
    for case in judged {
        let class = figures.classes.entry(case.row.class.clone()).or_default();
        class[0] += 1;
        let accepted = case.answer == Answer::Accepted;
        match &case.answer {
            Answer::Broken(why) => figures.broken.push(format!("{}: {why}", case.row.file)),
            Answer::Unsupported(_) if case.row.accepted => class[2] += 1,
            _ if accepted == case.row.accepted => class[1] += 1,
            _ => class[3] += 1,
        }
        if let Some(named) = case.names_field {
            class[4] += usize::from(named);
            class[5] += 1;
        }
        // A missing file or a type that is not in Envoy's stock binary may be judged otherwise.
        let a_rule = matches!(case.row.class.as_str(), "pgv" | "semantic" | "unknown-field");
        if accepted && a_rule {
            figures.wrongly_accepted.push(format!("{}: {}", case.row.file, case.row.error));
        }
    }
    figures
}

impl Figures {
    /// How many files of a class were judged as Envoy judges them.
    #[must_use]
    pub fn as_envoy(&self, class: &str) -> usize {
        self.classes.get(class).map_or(0, |class| class[1])
    }
}

/// The table and the differing files as Markdown, written to
/// `target/reports/envoy-configs.md`.
///
/// # Errors
/// The file cannot be written.
pub fn report(kind: Kind, judged: &[Judged], figures: &Figures) -> Result<String> {
    let mut text = String::from(
        "# Configurations judged by Envoy\n\n| class | files | as Envoy | not supported yet | \
         otherwise | names Envoy's field |\n|---|---|---|---|---|---|\n",
    );
    for (class, [files, same, unsupported, other, named, with_field]) in &figures.classes {
        let share = 100.0 * *same as f64 / *files as f64;
        text.push_str(&format!(
            "| {class} | {files} | {same} ({share:.1} %) | {unsupported} | {other} | \
             {named} of {with_field} |\n"
        ));
    }
    let table = text.clone();
    text.push_str("\n## Rejected, Envoy accepts\n");
    for case in judged.iter().filter(|case| case.row.accepted) {
        if let Answer::Rejected(errors) | Answer::Unsupported(errors) = &case.answer {
            let first = errors.lines().next().unwrap_or_default();
            text.push_str(&format!("- {} ({}): {first}\n", case.row.file, case.row.class));
        }
    }
    text.push_str("\n## Accepted, Envoy rejects\n");
    for case in judged.iter().filter(|case| !case.row.accepted && case.answer == Answer::Accepted) {
        text.push_str(&format!("- {} ({}): {}\n", case.row.file, case.row.class, case.row.error));
    }
    text.push_str("\n## Rejected without naming the field that Envoy names\n");
    for case in judged.iter().filter(|case| case.names_field == Some(false)) {
        if let Answer::Rejected(errors) = &case.answer {
            let first = errors.lines().next().unwrap_or_default();
            text.push_str(&format!(
                "- {}: Envoy {}; here {first}\n",
                case.row.file, case.row.error
            ));
        }
    }
    let name = if kind == Kind::Envoy { "envoy-configs-envoy.md" } else { "envoy-configs.md" };
    fs::write(bins::reports_dir()?.join(name), &text)?;
    Ok(table)
}

/// The limits that only ever get better: `NAME NUMBER` per line.
///
/// # Errors
/// A line that is neither a comment nor that.
pub fn limits(text: &str) -> Result<BTreeMap<String, usize>> {
    let mut limits = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some((name, number)) = line.split_once(' ') else {
            bail!("expected NAME NUMBER: {line}");
        };
        limits.insert(name.to_owned(), number.trim().parse()?);
    }
    Ok(limits)
}
