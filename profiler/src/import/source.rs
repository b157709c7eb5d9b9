//! Where a format reads from: a file or bytes, unpacked if it is gzip, with progress told on the way and a look at whether
//! somebody wants it to stop.

use std::cell::RefCell;
use std::io::{self, BufReader, Cursor, Read};
use std::ops::ControlFlow;
use std::rc::Rc;

use super::{MAX_STREAMED_BYTES, Problem, SNIFFED};

/// How much is read at once: some milliseconds' work.
const CHUNK: usize = 1 << 18;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, in a word.
    pub stage: &'static str,
    /// Bytes of the file that were read.
    pub done: u64,
    /// Its size.
    pub total: u64,
}

/// Who is told of progress, and may say stop.
pub(super) struct Watch<'w> {
    tell: &'w mut dyn FnMut(Progress) -> ControlFlow<()>,
    progress: Progress,
    stopped: bool,
}

impl<'w> Watch<'w> {
    pub fn new(total: u64, tell: &'w mut dyn FnMut(Progress) -> ControlFlow<()>) -> Rc<RefCell<Watch<'w>>> {
        let progress = Progress { stage: "Reading", done: 0, total };
        Rc::new(RefCell::new(Watch { tell, progress, stopped: false }))
    }

    fn look(&mut self) -> bool {
        self.stopped = self.stopped || (self.tell)(self.progress).is_break();
        !self.stopped
    }

    pub fn was_stopped(&self) -> bool {
        self.stopped
    }
}

/// The content of a file.
pub(super) struct Source<'w> {
    reader: Box<dyn Read + 'w>,
    watch: Rc<RefCell<Watch<'w>>>,
    head: Vec<u8>,
    left: u64,
}

impl<'w> Source<'w> {
    /// Reads the beginning, and unpacks from then on if it is gzip.
    pub fn new(reader: impl Read + 'w, watch: Rc<RefCell<Watch<'w>>>) -> io::Result<Source<'w>> {
        let mut raw = BufReader::with_capacity(CHUNK, Watched { reader, watch: watch.clone() });
        let (start, _) = beginning(&mut raw, GZIP.len())?;
        let packed = start == GZIP;
        let whole = Cursor::new(start).chain(raw);
        let mut reader: Box<dyn Read + 'w> = match packed {
            true => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
            false => Box::new(whole),
        };
        let (head, error) = beginning(&mut reader, SNIFFED)?;
        // A broken end shows when it is reached.
        let reader: Box<dyn Read + 'w> = match error {
            Some(e) => Box::new(Cursor::new(head.clone()).chain(Broken(Some(e)))),
            None => Box::new(Cursor::new(head.clone()).chain(reader)),
        };
        Ok(Source { reader, watch, head, left: MAX_STREAMED_BYTES })
    }

    /// The first bytes, still to be read.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Says what is being done now; an error once somebody asked to stop.
    pub fn step(&self, stage: &'static str) -> Result<(), Problem> {
        let mut watch = self.watch.borrow_mut();
        watch.progress.stage = stage;
        if watch.look() { Ok(()) } else { Err(Problem::Cancelled) }
    }

    /// Everything, if it is at most `limit` bytes.
    pub fn read_all(&mut self, limit: u64) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        self.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(Problem::TooLarge { what: "the file", limit });
        }
        Ok(bytes)
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buf)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| io::Error::other("too large once unpacked"))?;
        Ok(n)
    }
}

/// Counts what passes, and tells.
struct Watched<'w, R> {
    reader: R,
    watch: Rc<RefCell<Watch<'w>>>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buf)?;
        let mut watch = self.watch.borrow_mut();
        watch.progress.done += n as u64;
        if watch.look() { Ok(n) } else { Err(io::Error::other("cancelled")) }
    }
}

/// Nothing more but an error.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// The first bytes of a reader, and what went wrong after them.
fn beginning(reader: &mut impl Read, length: usize) -> io::Result<(Vec<u8>, Option<io::Error>)> {
    let mut head = Vec::new();
    match reader.take(length as u64).read_to_end(&mut head) {
        Ok(_) => Ok((head, None)),
        Err(e) if head.is_empty() => Err(e),
        Err(e) => Ok((head, Some(e))),
    }
}
