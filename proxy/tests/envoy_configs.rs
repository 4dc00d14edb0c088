//! Configurations that Envoy 1.40 has judged, judged again.
//!
//! `RINGWAY_JUDGE=FILE` writes a line per configuration with the verdict and the first errors.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use ringway::config::{Diagnostics, load_text};
use ringway::observe::stats::Registry;
use ringway_xds::{Diagnostic, Format};

/// What we say to a configuration.
enum Verdict {
    Accepted,
    /// Nothing is wrong, but not all of it is there yet.
    Unsupported(Diagnostics),
    Rejected(Diagnostics),
}

fn data() -> Option<PathBuf> {
    let root = std::env::var_os("RINGWAY_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let folder = root.join("envoy-configs");
    let found = folder.join("index.tsv").exists();
    if !found {
        println!("skipped: no Envoy configurations in {}", folder.display());
    }
    found.then_some(folder)
}

fn is_unsupported(diagnostic: &Diagnostic) -> bool {
    diagnostic.message.ends_with("not supported yet")
}

fn judge(folder: &Path, file: &str) -> Verdict {
    let path = folder.join(file);
    let text = fs::read_to_string(&path).expect("a file of the list");
    let support = folder.join("_support");
    let text = text.replace("$SUPPORT", &support.to_string_lossy());
    let result = load_text(&text, file, Format::of_file(file), 1, &mut Registry::new(1));
    match result {
        Ok(_) => Verdict::Accepted,
        Err(found) if found.0.iter().filter(|d| d.is_error()).all(is_unsupported) => {
            Verdict::Unsupported(found)
        }
        Err(found) => Verdict::Rejected(found),
    }
}

struct Row {
    file: String,
    class: String,
    error: String,
}

fn rows(folder: &Path, name: &str) -> Vec<Row> {
    let text = fs::read_to_string(folder.join(name)).expect("a list");
    let column = |line: &str, at: usize| line.split('\t').nth(at).unwrap_or_default().to_owned();
    let row =
        |line: &str| Row { file: column(line, 0), class: column(line, 1), error: column(line, 5) };
    text.lines().skip(1).map(row).collect()
}

/// `class: verdict → count`.
type Shares = BTreeMap<(String, &'static str), usize>;

fn run(folder: &Path, list: &str, log: &mut String) -> Shares {
    let mut shares = Shares::new();
    for row in rows(folder, list) {
        let (verdict, found) = match judge(folder, &row.file) {
            Verdict::Accepted => ("accepted", Diagnostics::default()),
            Verdict::Unsupported(found) => ("unsupported", found),
            Verdict::Rejected(found) => ("rejected", found),
        };
        *shares.entry((row.class.clone(), verdict)).or_default() += 1;
        let _ = write!(log, "{list}\t{}\t{verdict}\t{}\t{}", row.class, row.file, row.error);
        for d in found
            .0
            .iter()
            .filter(|d| d.is_error() && (verdict == "unsupported" || !is_unsupported(d)))
            .take(4)
        {
            let _ = write!(log, "\t{}: {}", d.path, d.message);
        }
        log.push('\n');
    }
    println!("{list}");
    for ((class, verdict), count) in &shares {
        println!("  {class:14} {verdict:12} {count}");
    }
    shares
}

#[test]
fn envoy_and_we_agree() {
    let Some(folder) = data() else { return };
    let mut log = String::new();
    let accepted = run(&folder, "index.tsv", &mut log);
    let rejected = run(&folder, "negative.tsv", &mut log);
    if let Some(path) = std::env::var_os("RINGWAY_JUDGE") {
        fs::write(path, &log).expect("the log can be written");
    }
    let count = |shares: &Shares, verdict: &str| -> usize {
        shares.iter().filter(|((_, found), _)| *found == verdict).map(|(_, count)| count).sum()
    };
    // Nothing that Envoy takes is called wrong, and nothing that it refuses is taken.
    assert_eq!(count(&accepted, "rejected"), 0, "accepted by Envoy, called wrong here");
    assert_eq!(count(&rejected, "accepted"), 0, "refused by Envoy, taken here");
    assert!(count(&accepted, "accepted") >= 400, "{accepted:?}");
}
