//! What two proxies did, and where it differs, for people.

#[cfg(test)]
mod tests;

/// What happened in one case on one side: sections in a fixed order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// Title and normalised lines.
    pub sections: Vec<(String, Vec<String>)>,
}

impl Transcript {
    /// All of it, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let section = |(title, lines): &(String, Vec<String>)| {
            let lines = lines.iter().map(|line| format!("    {line}\n"));
            format!("  {title}\n{}", lines.collect::<String>())
        };
        self.sections.iter().map(section).collect()
    }

    /// Whether the first answer a client got refuses what was sent: a status that says so, or on
    /// HTTP/2 a reset or the end of the connection.
    #[must_use]
    pub fn refuses(&self) -> bool {
        const STATUSES: [&str; 5] = ["400", "431", "501", "502", "503"];
        let answers = self.sections.first().map(|(_, lines)| lines.as_slice()).unwrap_or_default();
        let status = answers.iter().find_map(|line| {
            let h1 = line.split_once("HTTP/1.").and_then(|(_, rest)| rest.split(' ').nth(1));
            h1.or_else(|| line.split_once(":status: ").map(|(_, status)| status))
        });
        match status {
            Some(status) => STATUSES.contains(&status),
            None => answers.iter().any(|line| line.contains("reset") || line.contains("closed")),
        }
    }
}

/// The differing sections line by line (`-` the oracle, `+` the subject); `None` when equal.
#[must_use]
pub fn difference(oracle: &Transcript, subject: &Transcript) -> Option<String> {
    if oracle == subject {
        return None;
    }
    let mut out = String::new();
    for (ours, theirs) in subject.sections.iter().zip(&oracle.sections) {
        if ours.1 == theirs.1 {
            continue;
        }
        let mut sorted = [theirs.1.clone(), ours.1.clone()];
        sorted.iter_mut().for_each(|lines| lines.sort());
        let note = if sorted[0] == sorted[1] { " (only the order differs)" } else { "" };
        out.push_str(&format!("  {}{note}\n", ours.0));
        for line in lines(&theirs.1, &ours.1) {
            out.push_str(&format!("    {line}\n"));
        }
    }
    Some(out)
}

/// A line diff by longest common subsequence.
fn lines(from: &[String], to: &[String]) -> Vec<String> {
    let mut common = vec![vec![0_u32; to.len() + 1]; from.len() + 1];
    for (i, a) in from.iter().enumerate().rev() {
        for (j, b) in to.iter().enumerate().rev() {
            common[i][j] = if a == b {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < from.len() || j < to.len() {
        if i < from.len() && j < to.len() && from[i] == to[j] {
            out.push(format!("  {}", from[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == to.len() || (i < from.len() && common[i + 1][j] >= common[i][j + 1]) {
            out.push(format!("- {}", from[i]));
            i += 1;
        } else {
            out.push(format!("+ {}", to[j]));
            j += 1;
        }
    }
    out
}
