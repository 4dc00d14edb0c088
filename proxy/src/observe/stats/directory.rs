//! Who owns which slots: an immutable list that the registry publishes and readers walk.

use std::sync::{Arc, OnceLock};

use super::def::BlockDef;
use super::settings::Shown;

/// Scopes, or texts, in one shared part of the list, so that a change copies little.
pub(super) const GROUP: usize = 64;

/// A named block of slots.
#[derive(Debug)]
pub struct Scope {
    /// What comes before every suffix of the block, with its dot: `cluster.up.`.
    pub prefix: Box<str>,
    /// The kind of block.
    pub def: &'static BlockDef,
    /// First cell.
    pub dense: u32,
    /// First histogram or code table.
    pub sparse: u32,
    /// Never used twice in a process, unlike the slots.
    pub uid: u64,
    /// Which of them are shown, once somebody has asked.
    pub(super) shown: OnceLock<Shown>,
}

/// A part of the list; `None` is a free place.
pub(super) type Group = Vec<Option<Arc<Scope>>>;

/// A text readout: its full name and its value.
pub(super) type Text = (Arc<str>, Arc<str>);

/// All names at one point in time.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    pub(super) groups: Vec<Arc<Group>>,
    /// Text readouts: full name and value, unsorted; `None` is a free place. In parts as the
    /// scopes are: with many clusters one text changes with each update.
    texts: Vec<Arc<Vec<Option<Text>>>>,
}

impl Directory {
    /// Every live scope, in no particular order.
    pub fn scopes(&self) -> impl Iterator<Item = &Arc<Scope>> {
        self.groups.iter().flat_map(|group| group.iter().flatten())
    }

    /// Text readouts: full name and value, in no particular order.
    pub(super) fn texts(&self) -> impl Iterator<Item = &Text> {
        self.texts.iter().flat_map(|group| group.iter().flatten())
    }

    /// The text readout at a place of the list.
    pub(super) fn text(&self, place: usize) -> Option<&Text> {
        self.texts.get(place / GROUP)?.get(place % GROUP)?.as_ref()
    }

    /// Adds a text; its place.
    pub(super) fn push_text(&mut self, text: Text) -> usize {
        if self.texts.last().is_none_or(|group| group.len() >= GROUP) {
            self.texts.push(Arc::new(Vec::with_capacity(GROUP)));
        }
        let before = self.texts.len().saturating_sub(1) * GROUP;
        let Some(group) = self.texts.last_mut() else { return before };
        let group = Arc::make_mut(group);
        group.push(Some(text));
        before + group.len() - 1
    }

    /// The place of a text, to change what is there.
    pub(super) fn text_mut(&mut self, place: usize) -> Option<&mut Option<Text>> {
        Arc::make_mut(self.texts.get_mut(place / GROUP)?).get_mut(place % GROUP)
    }

    /// Places of text readouts, and what is at each.
    pub(super) fn text_places(&self) -> impl Iterator<Item = (usize, &Text)> {
        let places = self.texts.iter().flat_map(|group| group.iter()).enumerate();
        places.filter_map(|(place, text)| text.as_ref().map(|text| (place, text)))
    }
}
