//! Configurations that the real Envoy 1.40 judged: ours must judge the schema's part alike.
//!
//! The corpus lies outside the repository; without it the tests say so and pass.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ringway_xds::api::envoy::config::bootstrap::v3::Bootstrap;
use ringway_xds::print::{JsonOptions, write_json};
use ringway_xds::{Diagnostic, Document, Format, schema};

/// Share of the accepted files that must pass, in percent. What is missing needs messages that
/// the descriptors do not have.
const ACCEPTED_MIN: usize = 98;

fn corpus() -> Option<PathBuf> {
    let shared = std::env::var_os("RINGWAY_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    let folder = shared.join("envoy-configs");
    if folder.join("index.tsv").exists() {
        return Some(folder);
    }
    println!("skipped: no corpus at {} (set RINGWAY_SHARED)", folder.display());
    None
}

fn rows(folder: &Path, name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn judge(folder: &Path, file: &str) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let text = fs::read_to_string(folder.join(file)).unwrap();
    let document = Document::parse(&text, file, Format::of_file(file))?;
    document.decode::<Bootstrap>().map(|decoded| decoded.warnings)
}

#[test]
fn accepts_what_envoy_accepts() {
    let Some(folder) = corpus() else { return };
    let rows = rows(&folder, "index.tsv");
    let mut misses: Vec<(String, String)> = Vec::new();
    let mut tier_one = 0;
    for row in &rows {
        if let Err(errors) = judge(&folder, &row[0]) {
            let first = errors.iter().find(|e| e.is_error()).unwrap();
            tier_one += usize::from(row[1] == "yes");
            misses.push((row[0].clone(), format!("{}: {}", first.path, first.message)));
        }
    }
    for (file, reason) in &misses {
        println!("miss: {file}: {reason}");
    }
    let passed = rows.len() - misses.len();
    println!("accepted: {passed} of {} ({tier_one} misses of tier 1)", rows.len());
    assert_eq!(tier_one, 0);
    assert!(passed * 100 >= rows.len() * ACCEPTED_MIN);
}

#[test]
fn what_is_printed_reads_back() {
    let Some(folder) = corpus() else { return };
    let message = schema::message("envoy.config.bootstrap.v3.Bootstrap").unwrap();
    let options = JsonOptions { redact: false, ..JsonOptions::default() };
    let read = |text: &str, file: &str, format| {
        let (bytes, ..) =
            Document::parse(text, file, format).unwrap().encode(message.full_name())?;
        Ok::<_, Vec<Diagnostic>>(bytes)
    };
    for row in rows(&folder, "index.tsv") {
        let text = fs::read_to_string(folder.join(&row[0])).unwrap();
        let Ok(before) = read(&text, &row[0], Format::of_file(&row[0])) else { continue };
        let (mut once, mut twice) = (String::new(), String::new());
        write_json(&mut once, message, &before, options);
        let after = read(&once, &row[0], Format::Json).unwrap();
        write_json(&mut twice, message, &after, options);
        assert_eq!(once, twice, "{}", row[0]);
    }
}

#[test]
fn rejects_what_envoy_rejects() {
    let Some(folder) = corpus() else { return };
    let mut shares: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    for row in rows(&folder, "negative.tsv") {
        let (file, class, error) = (&row[0], &row[1], &row[5]);
        let share = shares.entry(class.clone()).or_default();
        share[0] += 1;
        let found = match judge(&folder, file) {
            Ok(_) => Vec::new(),
            Err(errors) => errors,
        };
        share[1] += usize::from(!found.is_empty());
        let same = found.iter().any(|e| e.is_error() && names_the_same(e, error));
        share[2] += usize::from(same);
        if matches!(class.as_str(), "pgv" | "unknown-field") && !same {
            println!("{class}: {file}\n    envoy: {error}");
            for e in found.iter().filter(|e| e.is_error()).take(3) {
                println!("    ours:  {}: {}", e.path, e.message);
            }
        }
    }
    for (class, [all, rejected, same]) in &shares {
        println!("{class}: {rejected} of {all} rejected, {same} of them at Envoy's place");
    }
    for class in ["pgv", "unknown-field"] {
        let [all, rejected, _] = shares[class];
        assert!(rejected * 100 >= all * 90, "{class}: {rejected} of {all}");
    }
}

/// Whether the diagnostic is at the field that Envoy's text names.
fn names_the_same(ours: &Diagnostic, envoy: &str) -> bool {
    if let Some((_, rest)) = envoy.split_once("no such field: '") {
        let field = rest.split('\'').next().unwrap();
        let place =
            envoy.split_once(" @ ").map_or("", |(_, rest)| rest.split(": message").next().unwrap());
        let place = place.replace(".<any>", "");
        let wanted = if place.is_empty() { field.into() } else { format!("{place}.{field}") };
        return plain(&ours.path) == plain(&wanted);
    }
    if let Some((_, rest)) = envoy.split_once("unknown enum value: '") {
        return ours.message.contains(rest.split('\'').next().unwrap());
    }
    let chain: Vec<String> = envoy
        .split("ValidationError.")
        .skip(1)
        .map(|part| part.split([':', '[', ' ', ')']).next().unwrap().to_ascii_lowercase())
        .collect();
    let path = plain(&ours.path).replace('_', "");
    let steps: Vec<&str> = path.split('.').collect();
    // Envoy's text is cut short in the table: what is there must be in a row in ours.
    !chain.is_empty() && steps.windows(chain.len()).any(|steps| steps == chain.as_slice())
        || chain.is_empty() && envoy.contains("is required") && ours.message.contains("required")
}

/// The path without indexes and keys of maps.
fn plain(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        rest = after.split_once(']').map_or("", |(_, after)| after);
    }
    out + rest
}
