//! What names have in common that differ only in whose they are.

use super::{CustomTag, TagRules};

/// Stands for the second part of a name.
pub(in crate::observe::stats) const OWNER: &str = "\u{1}";

/// First parts behind which every rule takes the second part as it is, whatever it says.
const OWNED: [(&str, &str); 4] = [
    ("cluster.", "envoy_cluster_name"),
    ("http.", "envoy_http_conn_manager_prefix"),
    ("vhost.", "envoy_virtual_host"),
    ("tcp.", "envoy_tcp_prefix"),
];

impl TagRules {
    /// Writes what tags are found by for names that begin with `prefix`: two prefixes of one shape
    /// give the same tags and the same rest, but for the value of the second part, for which the
    /// shape has [`OWNER`]. A prefix whose tags depend on all of it is its own shape.
    pub(in crate::observe::stats) fn shape(&self, prefix: &str, shape: &mut String) {
        shape.clear();
        match self.owner(prefix) {
            Some((head, tail)) => {
                shape.push_str(head);
                shape.push_str(OWNER);
                shape.push_str(tail);
            }
            None => shape.push_str(prefix),
        }
    }

    /// What comes before and after the second part, where that can be any.
    fn owner<'p>(&self, prefix: &'p str) -> Option<(&'p str, &'p str)> {
        let (head, tag) = OWNED.iter().find(|(head, _)| prefix.starts_with(head))?;
        let fixed = |own: &CustomTag| matches!(own, CustomTag::Fixed { name, .. } if name == tag);
        let wanted = self.takes(tag) && !self.custom.iter().any(fixed);
        let regex = self.custom.iter().any(|tag| matches!(tag, CustomTag::Regex { .. }));
        let (head, rest) = prefix.split_at_checked(head.len())?;
        let (owner, tail) = rest.split_at_checked(rest.find('.')?)?;
        // `cluster.ssl.…` is the one second part a rule looks for.
        let plain = !owner.is_empty() && owner != "ssl" && tail.ends_with('.');
        (wanted && !regex && plain && !tail.contains(OWNER)).then_some((head, tail))
    }
}
