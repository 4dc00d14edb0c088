//! The builder side (control thread): names → slots, and slots back when nobody uses them.

use std::hash::BuildHasher;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};

use super::def::{BlockDef, Counter, Gauge, Histogram, Kind, Show, Source, StatDef};
use super::directory::{Directory, GROUP, Group, Scope};
use super::merge::Merger;
use super::page::{DENSE_CHUNK_LEN, MAX_DENSE, MAX_SPARSE, Page};
use super::settings::Settings;
use super::writer::ShardStats;

/// Keeps a block's slots: as long as one clone lives, nobody else gets them. Belongs into what
/// the shards hold anyway (the plan's cluster, the listener), never cloned per request.
#[derive(Debug, Clone)]
pub struct BlockHandle {
    lease: Arc<Lease>,
}

#[derive(Debug)]
struct Lease {
    dense: u32,
    sparse: u32,
}

impl BlockHandle {
    /// The counter at `index` of the block.
    pub fn counter(&self, index: u16) -> Counter {
        Counter(self.lease.dense + u32::from(index))
    }

    /// The gauge at `index` of the block.
    pub fn gauge(&self, index: u16) -> Gauge {
        Gauge(self.lease.dense + u32::from(index))
    }

    /// The histogram (or code table) at `index` of the block.
    pub fn histogram(&self, index: u16) -> Histogram {
        Histogram(self.lease.sparse + u32::from(index))
    }
}

/// A text readout; see [`Registry::set_text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TextReadout(usize);

/// Pages of all writers.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) all: Box<[Arc<Page>]>,
}

/// Names and slots of a process. Lives on the control thread.
///
/// Changes become visible to readers at the next [`Registry::publish`].
#[derive(Debug)]
pub struct Registry {
    pages: Arc<Pages>,
    taken: Vec<bool>,
    dense: SlotSpace,
    sparse: SlotSpace,
    current: Directory,
    leases: Vec<Option<Weak<Lease>>>,
    free_scopes: Vec<u32>,
    text_index: HashMap<Arc<str>, usize, FixedState>,
    free_texts: Vec<usize>,
    index: HashTable<u32>,
    hasher: FixedState,
    uid: u64,
    dirty: bool,
    out: Arc<ArcSwap<Directory>>,
    settings: Arc<Settings>,
}

impl Registry {
    /// A registry with a page for each of `writers` threads (workers, control, admin).
    pub fn new(writers: usize) -> Self {
        let all = (0..writers).map(|_| Arc::default()).collect();
        Self {
            pages: Arc::new(Pages { all }),
            taken: vec![false; writers],
            dense: SlotSpace::new(MAX_DENSE, DENSE_CHUNK_LEN),
            sparse: SlotSpace::new(MAX_SPARSE, u32::MAX),
            current: Directory::default(),
            leases: Vec::new(),
            free_scopes: Vec::new(),
            text_index: HashMap::default(),
            free_texts: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::default(),
            uid: 0,
            dirty: false,
            out: Arc::default(),
            settings: Arc::default(),
        }
    }

    /// The writer of page `index`; `None` if there is no such page or it was handed out already.
    pub fn writer(&mut self, index: usize) -> Option<ShardStats> {
        let taken = self.taken.get_mut(index).filter(|taken| !**taken)?;
        *taken = true;
        self.pages.all.get(index).map(|page| ShardStats::new(page.clone()))
    }

    /// What readers made from now on go by (`stats_config`).
    pub fn configure(&mut self, settings: Settings) {
        self.settings = Arc::new(settings);
    }

    /// The reader of all pages, for the admin thread.
    pub fn merger(&self) -> Merger {
        Merger::new(self.pages.clone(), self.out.clone(), self.settings.clone())
    }

    /// The block of kind `def` named `prefix` (with its trailing dot, or empty). A block that
    /// exists is shared: two listeners with one `stat_prefix` count together, and an updated
    /// cluster goes on counting where the old one was.
    ///
    /// When all slots are taken (millions), the new block shares its slots with a sink that is
    /// not listed.
    pub fn block(&mut self, def: &'static BlockDef, prefix: &str) -> BlockHandle {
        let hash = self.hash(def, prefix);
        if let Some(lease) = self.find(hash, def, prefix) {
            return BlockHandle { lease };
        }
        // Unfindable by now, but perhaps only because its last handle is gone: reuse its place.
        self.forget(hash, def, prefix);
        let dense = self.dense.take(u32::from(def.dense), def.aligned);
        let sparse = self.sparse.take(u32::from(def.sparse), None);
        let (Some(dense), Some(sparse)) = (dense, sparse) else {
            return BlockHandle { lease: Arc::new(Lease { dense: MAX_DENSE, sparse: MAX_SPARSE }) };
        };
        self.uid += 1;
        let lease = Arc::new(Lease { dense, sparse });
        let shown = OnceLock::new();
        let scope = Scope { prefix: prefix.into(), def, dense, sparse, uid: self.uid, shown };
        let id = self.place(scope, Arc::downgrade(&lease));
        let hasher = &self.hasher;
        let groups = &self.current.groups;
        self.index.insert_unique(hash, id, |&id| {
            scope_at(groups, id).map_or(0, |s| hash_of(hasher, s.def, &s.prefix))
        });
        BlockHandle { lease }
    }

    /// A single counter under its full name.
    pub fn counter(&mut self, name: &str) -> (BlockHandle, Counter) {
        let block = self.block(&ONE_COUNTER, name);
        let slot = block.counter(0);
        (block, slot)
    }

    /// A single gauge under its full name.
    pub fn gauge(&mut self, name: &str) -> (BlockHandle, Gauge) {
        let block = self.block(&ONE_GAUGE, name);
        let slot = block.gauge(0);
        (block, slot)
    }

    /// A single histogram under its full name.
    pub fn histogram(&mut self, name: &str) -> (BlockHandle, Histogram) {
        let block = self.block(&ONE_HISTOGRAM, name);
        let slot = block.histogram(0);
        (block, slot)
    }

    /// A text readout under its full name, created empty if it does not exist.
    pub fn text_readout(&mut self, name: &str) -> TextReadout {
        if let Some(place) = self.text_index.get(name) {
            return TextReadout(*place);
        }
        let name: Arc<str> = name.into();
        let text = (name.clone(), Arc::default());
        let place = match self.free_texts.pop() {
            Some(place) => {
                if let Some(free) = self.current.text_mut(place) {
                    *free = Some(text);
                }
                place
            }
            None => self.current.push_text(text),
        };
        self.text_index.insert(name, place);
        self.dirty = true;
        TextReadout(place)
    }

    /// Changes a text.
    pub fn set_text(&mut self, readout: TextReadout, value: &Arc<str>) {
        let known = self.current.text(readout.0);
        if known.is_some_and(|(_, old)| old != value)
            && let Some(Some(text)) = self.current.text_mut(readout.0)
        {
            text.1 = value.clone();
            self.dirty = true;
        }
    }

    /// Ends a text readout.
    pub fn remove_text(&mut self, readout: TextReadout) {
        let Some(text) = self.current.text_mut(readout.0) else { return };
        if let Some((name, _)) = text.take() {
            self.text_index.remove(&name);
            self.free_texts.push(readout.0);
            self.dirty = true;
        }
    }

    /// Takes back the slots of blocks without a handle. Call it after shards have dropped a plan.
    pub fn sweep(&mut self) {
        for id in 0..self.leases.len() {
            let lease = self.leases.get(id).and_then(Option::as_ref);
            if lease.is_some_and(|lease| lease.strong_count() == 0) {
                self.release(id as u32);
            }
        }
    }

    /// Shows readers the names as they are now. Cheap, and nothing at all without a change.
    pub fn publish(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.out.store(Arc::new(self.current.clone()));
        }
    }

    /// Number of live blocks.
    pub fn blocks(&self) -> usize {
        self.index.len()
    }

    fn hash(&self, def: &'static BlockDef, prefix: &str) -> u64 {
        hash_of(&self.hasher, def, prefix)
    }

    fn find(&self, hash: u64, def: &'static BlockDef, prefix: &str) -> Option<Arc<Lease>> {
        let groups = &self.current.groups;
        let id = self.index.find(hash, |&id| is_scope(groups, id, def, prefix))?;
        self.leases.get(*id as usize)?.as_ref()?.upgrade()
    }

    fn forget(&mut self, hash: u64, def: &'static BlockDef, prefix: &str) {
        let groups = &self.current.groups;
        let id = self.index.find(hash, |&id| is_scope(groups, id, def, prefix)).copied();
        if let Some(id) = id {
            self.release(id);
        }
    }

    fn place(&mut self, scope: Scope, lease: Weak<Lease>) -> u32 {
        self.dirty = true;
        let id = self.free_scopes.pop().unwrap_or_else(|| {
            if self.leases.len().is_multiple_of(GROUP) {
                self.current.groups.push(Arc::new(Group::with_capacity(GROUP)));
            }
            self.leases.push(None);
            if let Some(group) = self.current.groups.last_mut() {
                Arc::make_mut(group).push(None);
            }
            self.leases.len() as u32 - 1
        });
        if let Some(place) = self.leases.get_mut(id as usize) {
            *place = Some(lease);
        }
        self.set_scope(id, Some(Arc::new(scope)));
        id
    }

    fn release(&mut self, id: u32) {
        let Some(scope) = scope_at(&self.current.groups, id).cloned() else { return };
        // The shards' last writes happened before they dropped their handles.
        fence(Ordering::Acquire);
        let (dense, sparse) = (u32::from(scope.def.dense), u32::from(scope.def.sparse));
        for page in &self.pages.all {
            page.clear(scope.dense..scope.dense + dense, scope.sparse..scope.sparse + sparse);
        }
        self.dense.give(scope.dense, dense);
        self.sparse.give(scope.sparse, sparse);
        let hash = self.hash(scope.def, &scope.prefix);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        self.set_scope(id, None);
        if let Some(place) = self.leases.get_mut(id as usize) {
            *place = None;
        }
        self.free_scopes.push(id);
        self.dirty = true;
    }

    fn set_scope(&mut self, id: u32, scope: Option<Arc<Scope>>) {
        let id = id as usize;
        if let Some(group) = self.current.groups.get_mut(id / GROUP)
            && let Some(place) = Arc::make_mut(group).get_mut(id % GROUP)
        {
            *place = scope;
        }
    }
}

fn scope_at(groups: &[Arc<Group>], id: u32) -> Option<&Arc<Scope>> {
    let id = id as usize;
    groups.get(id / GROUP)?.get(id % GROUP)?.as_ref()
}

fn is_scope(groups: &[Arc<Group>], id: u32, def: &'static BlockDef, prefix: &str) -> bool {
    scope_at(groups, id).is_some_and(|s| s.def.name == def.name && &*s.prefix == prefix)
}

fn hash_of(hasher: &FixedState, def: &BlockDef, prefix: &str) -> u64 {
    hasher.hash_one((def.name, prefix))
}

/// Which slots of one table are free.
#[derive(Debug)]
struct SlotSpace {
    next: u32,
    max: u32,
    chunk: u32,
    /// What is left of the chunk that small blocks share.
    shared: std::ops::Range<u32>,
    /// Free ranges by length; lengths are few, as block kinds are.
    free: Vec<(u32, Vec<u32>)>,
}

impl SlotSpace {
    fn new(max: u32, chunk: u32) -> Self {
        Self { next: 0, max, chunk, shared: 0..0, free: Vec::new() }
    }

    /// `aligned` is what begins a chunk.
    fn take(&mut self, len: u32, aligned: Option<u16>) -> Option<u32> {
        if let Some(slot) = self.free.iter_mut().find(|f| f.0 == len).and_then(|f| f.1.pop()) {
            return Some(slot);
        }
        // A block within one chunk costs a shard that touches it one chunk, not two.
        if len <= self.chunk / 2 && self.chunk != u32::MAX {
            if (self.shared.len() as u32) < len {
                let start = self.next.next_multiple_of(self.chunk);
                self.shared = start..self.end(start, self.chunk)?;
            }
            let slot = self.shared.start;
            self.shared.start += len;
            return Some(slot);
        }
        let into = (self.next + u32::from(aligned.unwrap_or(0))) % self.chunk;
        if into > 0 && (aligned.is_some() || (len <= self.chunk && into + len > self.chunk)) {
            self.next += self.chunk - into;
        }
        let slot = self.next;
        self.end(slot, len)?;
        Some(slot)
    }

    /// Everything up to the end of a range is taken.
    fn end(&mut self, slot: u32, len: u32) -> Option<u32> {
        let end = slot.checked_add(len).filter(|&end| end <= self.max)?;
        self.next = end;
        Some(end)
    }

    fn give(&mut self, slot: u32, len: u32) {
        match self.free.iter_mut().find(|f| f.0 == len) {
            Some(free) => free.1.push(slot),
            None => self.free.push((len, vec![slot])),
        }
    }
}

const fn single(kind: Kind, source: Source) -> StatDef {
    StatDef { suffix: "", kind, source, show: Show::Always }
}

const fn single_block(name: &'static str, stats: &'static [StatDef]) -> BlockDef {
    let (dense, sparse) = match stats[0].source {
        Source::Dense(_) => (1, 0),
        _ => (0, 1),
    };
    let order = OnceLock::new();
    BlockDef { name, stats, dense, sparse, codes: None, aligned: None, order }
}

static ONE_COUNTER: BlockDef = single_block("counter", &[single(Kind::Counter, Source::Dense(0))]);
static ONE_GAUGE: BlockDef = single_block("gauge", &[single(Kind::Gauge, Source::Dense(0))]);
static ONE_HISTOGRAM: BlockDef =
    single_block("histogram", &[single(Kind::Histogram, Source::Sparse(0))]);
