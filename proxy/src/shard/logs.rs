//! The shard's access log files: one appender per file, lines collected and written by size or
//! interval without blocking the shard.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::grpc_logs::GrpcLogs;
use ringway_runtime::file::{AppendOptions, Appender};

use crate::observe::accesslog::{AccessLog, Sink};
use crate::observe::format::LogContext;

/// Access logs of one shard.
pub(crate) struct ShardLogs {
    options: AppendOptions,
    files: RefCell<Vec<(PathBuf, Option<Appender>)>>,
    line: RefCell<Vec<u8>>,
    /// Logs that go to a service.
    pub(super) grpc: GrpcLogs,
}

/// A line buffer larger than this is given back.
const LINE_KEPT: usize = 16 * 1024;

impl ShardLogs {
    pub(crate) fn new(options: AppendOptions) -> Self {
        let (files, line, grpc) = Default::default();
        Self { options, files, line, grpc }
    }

    /// Writes the line of a stream, unless the log's filter leaves it out. A file that cannot be
    /// opened is reported once and then left alone until [`ShardLogs::reopen`].
    pub(crate) fn log(&self, log: &AccessLog, cx: &LogContext<'_>) {
        let path = match &log.sink {
            Sink::File(path) => path,
            Sink::Stdout => Path::new("/dev/stdout"),
            Sink::Stderr => Path::new("/dev/stderr"),
            Sink::Grpc(plan) => return self.grpc.log(plan, |out| log.log(cx, out)),
        };
        let mut line = self.line.borrow_mut();
        line.clear();
        if !log.log(cx, &mut line) {
            return;
        }
        let mut files = self.files.borrow_mut();
        let at = files.iter().position(|(have, _)| have == path).unwrap_or_else(|| {
            files.push((path.to_path_buf(), self.open(path)));
            files.len() - 1
        });
        if let Some((_, Some(file))) = files.get(at) {
            file.write(&line);
        }
        if line.capacity() > LINE_KEPT {
            *line = Vec::new();
        }
    }

    /// Opens every file again (SIGUSR1).
    pub(crate) fn reopen(&self) {
        for (path, file) in self.files.borrow_mut().iter_mut() {
            match file {
                Some(open) => {
                    if let Err(error) = open.reopen() {
                        complain(path, &error);
                    }
                }
                None => *file = self.open(path),
            }
        }
    }

    fn open(&self, path: &Path) -> Option<Appender> {
        Appender::open_with(path, self.options).map_err(|error| complain(path, &error)).ok()
    }
}

fn complain(path: &Path, error: &std::io::Error) {
    crate::control::log::log!(
        Error,
        File,
        "access log {}: {error}; nothing is logged there until it can be opened (SIGUSR1 tries)",
        path.display()
    );
}
