//! Index of the path conditions of one virtual host's routes.
//!
//! Envoy walks the routes of a virtual host one by one and takes the first that matches. This index
//! gives the same answer without looking at the others: a radix trie over the literal conditions
//! (`path`, `prefix`, `path_separated_prefix`; a second trie for those that ignore case) yields for
//! a path the few routes whose condition holds, merged in the order of the configuration with the
//! regular expressions, which have to be tried one by one.
//!
//! Nodes are plain records in one vector, laid out breadth first so that siblings are neighbours;
//! labels share one byte string. A route costs at most two nodes of 32 bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use super::CaseSensitivity;

/// Path condition of a route, `RouteMatch.path_specifier`.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// `prefix`.
    Prefix(Arc<str>, CaseSensitivity),
    /// `path_separated_prefix`: the whole path, or a prefix followed by `/`.
    SeparatedPrefix(Arc<str>, CaseSensitivity),
    /// `path`.
    Exact(Arc<str>, CaseSensitivity),
    /// `safe_regex`, compiled so that it matches whole paths only.
    Regex(Arc<regex::bytes::Regex>),
    /// `connect_matcher`: any CONNECT, which has no path.
    Connect,
}

impl PathMatch {
    /// Length of the matched part where it is a literal; what a prefix rewrite replaces.
    pub fn literal_len(&self) -> Option<usize> {
        match self {
            Self::Prefix(text, _) | Self::SeparatedPrefix(text, _) | Self::Exact(text, _) => {
                Some(text.len())
            }
            Self::Regex(_) | Self::Connect => None,
        }
    }

    /// Does `path` (without query and fragment) meet the condition? The index answers the same
    /// question for all routes at once; this is for one route alone.
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Prefix(text, case) => starts_with(path, text.as_bytes(), *case),
            Self::SeparatedPrefix(text, case) => {
                starts_with(path, text.as_bytes(), *case)
                    && matches!(path.get(text.len()), None | Some(b'/'))
            }
            Self::Exact(text, case) => {
                path.len() == text.len() && starts_with(path, text.as_bytes(), *case)
            }
            Self::Regex(regex) => regex.is_match(path),
            Self::Connect => false,
        }
    }
}

/// Index over the path conditions of a list of routes.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    sensitive: Trie,
    insensitive: Trie,
    regexes: Box<[(u32, Arc<regex::bytes::Regex>)]>,
}

impl PathIndex {
    /// Indexes the conditions; the position in `paths` is the route's number.
    pub(super) fn new<'a>(paths: impl Iterator<Item = &'a PathMatch>) -> Self {
        let mut sensitive = Vec::new();
        let mut insensitive = Vec::new();
        let mut regexes = Vec::new();
        for (route, path) in (0_u32..).zip(paths) {
            let (text, case, kind) = match path {
                PathMatch::Prefix(text, case) => (text, case, Kind::Prefix),
                PathMatch::SeparatedPrefix(text, case) => (text, case, Kind::Separated),
                PathMatch::Exact(text, case) => (text, case, Kind::Exact),
                PathMatch::Regex(regex) => {
                    regexes.push((route, Arc::clone(regex)));
                    continue;
                }
                PathMatch::Connect => continue,
            };
            let bytes = text.as_bytes();
            match case {
                CaseSensitivity::Sensitive => sensitive.push((bytes.to_vec(), kind, route)),
                CaseSensitivity::Insensitive => {
                    insensitive.push((bytes.to_ascii_lowercase(), kind, route));
                }
            }
        }
        Self {
            sensitive: Trie::new(sensitive),
            insensitive: Trie::new(insensitive),
            regexes: regexes.into_boxed_slice(),
        }
    }

    /// First route, in the order of the configuration, whose path condition holds for `path`
    /// (without query and fragment) and which `accept` takes.
    pub(super) fn first(&self, path: &[u8], mut accept: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut lists: Lists<'_> = SmallVec::new();
        self.sensitive.collect(path, |byte| byte, &mut lists);
        if !self.insensitive.nodes.is_empty() {
            self.insensitive.collect(path, |byte| byte.to_ascii_lowercase(), &mut lists);
        }
        let mut regexes = self.regexes.iter();
        let mut regex = regexes.next();
        loop {
            let literal = lists
                .iter_mut()
                .filter(|list| !list.is_empty())
                .min_by_key(|list| list.first().copied().unwrap_or(u32::MAX));
            match (literal, regex) {
                (None, None) => return None,
                (literal, Some((route, pattern)))
                    if literal.as_ref().and_then(|l| l.first()).is_none_or(|l| route < l) =>
                {
                    regex = regexes.next();
                    if pattern.is_match(path) && accept(*route) {
                        return Some(*route);
                    }
                }
                (Some(list), _) => {
                    let (route, rest) = list.split_first()?;
                    *list = rest;
                    if accept(*route) {
                        return Some(*route);
                    }
                }
                // The second arm takes every regex where there is no literal.
                (None, Some(_)) => return None,
            }
        }
    }
}

/// Ascending route numbers of the conditions that hold, one list for each trie node on the way.
type Lists<'a> = SmallVec<[&'a [u32]; 8]>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Prefix,
    Separated,
    Exact,
}

/// A literal condition before it is indexed: bytes, kind, route.
type Entry = (Vec<u8>, Kind, u32);

#[derive(Debug, Default)]
struct Trie {
    nodes: Box<[Node]>,
    /// First byte of each node's label, so that a node's children are found by one scan.
    firsts: Box<[u8]>,
    labels: Box<[u8]>,
    routes: Box<[u32]>,
}

/// One node. Its routes are `routes[start..]`: first the `prefix` ones, then
/// `path_separated_prefix`, then `path`, each ascending.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    label: u32,
    label_len: u32,
    child: u32,
    children: u32,
    start: u32,
    prefixes: u32,
    separated: u32,
    exact: u32,
}

impl Trie {
    fn new(mut entries: Vec<Entry>) -> Self {
        if entries.is_empty() {
            return Self::default();
        }
        entries.sort();
        let mut nodes = vec![Node::default()];
        let mut firsts = vec![0];
        let mut labels = Vec::new();
        let mut routes = Vec::with_capacity(entries.len());
        // (node, its entries, length of the bytes they share)
        let mut todo = VecDeque::from([(0_usize, entries.as_slice(), 0_usize)]);
        while let Some((at, entries, depth)) = todo.pop_front() {
            let ends = entries.partition_point(|(bytes, ..)| bytes.len() == depth);
            let (own, deeper) = entries.split_at(ends);
            let mut node = Node { start: narrow(routes.len()), ..nodes[at] };
            for (_, kind, route) in own {
                routes.push(*route);
                match kind {
                    Kind::Prefix => node.prefixes += 1,
                    Kind::Separated => node.separated += 1,
                    Kind::Exact => node.exact += 1,
                }
            }
            node.child = narrow(nodes.len());
            for group in deeper.chunk_by(|(a, ..), (b, ..)| a[depth] == b[depth]) {
                let shared = shared_len(group);
                let label = &group[0].0[depth..shared];
                nodes.push(Node {
                    label: narrow(labels.len()),
                    label_len: narrow(label.len()),
                    ..Node::default()
                });
                firsts.push(label[0]);
                labels.extend_from_slice(label);
                todo.push_back((nodes.len() - 1, group, shared));
                node.children += 1;
            }
            nodes[at] = node;
        }
        Self {
            nodes: nodes.into_boxed_slice(),
            firsts: firsts.into_boxed_slice(),
            labels: labels.into_boxed_slice(),
            routes: routes.into_boxed_slice(),
        }
    }

    /// Adds the routes of every node that `path`, seen through `fold`, leads to.
    fn collect<'a>(&'a self, path: &[u8], fold: impl Fn(u8) -> u8, lists: &mut Lists<'a>) {
        let Some(mut node) = self.nodes.first() else { return };
        let mut rest = path;
        loop {
            let end = rest.is_empty();
            self.add(node, end, end || rest.first() == Some(&b'/'), lists);
            let Some(&next) = rest.first() else { return };
            let (from, to) = (node.child as usize, (node.child + node.children) as usize);
            let Some(found) =
                self.firsts.get(from..to).and_then(|firsts| memchr::memchr(fold(next), firsts))
            else {
                return;
            };
            let Some(child) = self.nodes.get(from + found) else { return };
            let label = slice(&self.labels, child.label, child.label_len);
            let Some((head, tail)) = rest.split_at_checked(label.len()) else { return };
            if !head.iter().zip(label).all(|(byte, want)| fold(*byte) == *want) {
                return;
            }
            node = child;
            rest = tail;
        }
    }

    fn add<'a>(&'a self, node: &Node, end: bool, separated: bool, lists: &mut Lists<'a>) {
        let mut start = node.start;
        for (count, holds) in
            [(node.prefixes, true), (node.separated, separated), (node.exact, end)]
        {
            if count > 0 && holds {
                lists.push(slice(&self.routes, start, count));
            }
            start += count;
        }
    }
}

/// `path` without query and fragment, as every path condition sees it.
pub fn without_query(path: &[u8]) -> &[u8] {
    match memchr::memchr2(b'?', b'#', path) {
        Some(end) => path.get(..end).unwrap_or(path),
        None => path,
    }
}

fn starts_with(path: &[u8], prefix: &[u8], case: CaseSensitivity) -> bool {
    match (path.get(..prefix.len()), case) {
        (None, _) => false,
        (Some(head), CaseSensitivity::Sensitive) => head == prefix,
        (Some(head), CaseSensitivity::Insensitive) => head.eq_ignore_ascii_case(prefix),
    }
}

/// Length of what all of the sorted `group` begin with.
fn shared_len(group: &[Entry]) -> usize {
    let (Some((first, ..)), Some((last, ..))) = (group.first(), group.last()) else { return 0 };
    first.iter().zip(last).take_while(|(a, b)| a == b).count()
}

/// Sizes of a configuration; 4 GiB of paths do not fit a bootstrap.
fn narrow(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn slice<T>(all: &[T], start: u32, len: u32) -> &[T] {
    let start = start as usize;
    all.get(start..start + len as usize).unwrap_or_default()
}
