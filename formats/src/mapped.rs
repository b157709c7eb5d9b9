//! A mapped file that gives back the memory of what was read.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use graph::Backing;
use memmap2::Mmap;

/// A file, mapped for reading.
#[derive(Debug)]
pub(crate) struct MappedFile(Mmap);

/// What [`Bytes`] hold on to.
struct Shared(Arc<MappedFile>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0.0
    }
}

impl MappedFile {
    /// Maps a regular file that is not empty.
    pub fn new(file: &File) -> io::Result<MappedFile> {
        // SAFETY: the map is read-only and private. If another program shortens the file meanwhile, reads past its end fault:
        // the accepted price of not copying weights, as in every program that maps them.
        Ok(MappedFile(unsafe { Mmap::map(file) }?))
    }

    /// All of it.
    pub fn bytes(file: &Arc<MappedFile>) -> Bytes {
        Bytes::from_owner(Shared(file.clone()))
    }

    /// Where `bytes` begin in the map, if they lie in it.
    fn offset(&self, bytes: &[u8]) -> Option<usize> {
        let offset = (bytes.as_ptr() as usize).checked_sub(self.0.as_ptr() as usize)?;
        offset.checked_add(bytes.len()).filter(|&end| end <= self.0.len()).map(|_| offset)
    }
}

impl Backing for MappedFile {
    fn release(&self, bytes: &[u8]) {
        let Some(offset) = self.offset(bytes).filter(|_| !bytes.is_empty()) else { return };
        #[cfg(unix)]
        {
            // SAFETY: nobody writes through this map, so its pages hold what the file holds and the system reads them from
            // there again; the range lies in the map, and whole pages around it are the map's as well.
            let advised =
                unsafe { self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, bytes.len()) };
            // Advice that is not taken costs memory, and nothing else.
            drop(advised);
        }
        #[cfg(not(unix))]
        let _ = offset;
    }

    fn release_all(&self) {
        self.release(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn mapped(content: &[u8]) -> Arc<MappedFile> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Arc::new(MappedFile::new(&file).unwrap())
    }

    /// Resident bytes of the map that begins here.
    #[cfg(target_os = "linux")]
    fn resident(at: *const u8) -> usize {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = smaps.lines().skip_while(|l| !l.starts_with(&format!("{:x}-", at as usize)));
        let rss = lines.find_map(|l| l.strip_prefix("Rss:")).expect("the map is listed");
        rss.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn released_pages_leave_memory_and_come_back_unchanged() {
        let content: Vec<u8> = (0..1 << 20).map(|i: u32| (i.wrapping_mul(2654435761) >> 24) as u8).collect();
        let file = mapped(&content);
        let bytes = MappedFile::bytes(&file);
        assert!(bytes == content);
        assert_eq!(resident(bytes.as_ptr()), 1 << 20);
        // Neither starts nor ends with a page: those around go too.
        file.release(&bytes[(1 << 19) + 5..(1 << 20) - 7]);
        assert_eq!(resident(bytes.as_ptr()), 1 << 19);
        assert!(bytes == content, "read again from the file");
        file.release_all();
        assert_eq!(resident(bytes.as_ptr()), 0);
        assert!(bytes == content);
    }

    #[test]
    fn only_its_own_bytes_are_released() {
        let (file, other) = (mapped(&[7; 10_000]), mapped(&[9; 10_000]));
        let heap = vec![3u8; 10_000];
        let (own, foreign) = (MappedFile::bytes(&file), MappedFile::bytes(&other));
        assert_eq!((file.offset(&own[5..]), file.offset(&own)), (Some(5), Some(0)));
        for bytes in [&heap[..], &foreign, &[]] {
            file.release(bytes);
        }
        assert_eq!((file.offset(&heap), file.offset(&foreign)), (None, None));
        assert!(heap.iter().all(|&b| b == 3) && foreign.iter().all(|&b| b == 9) && own.iter().all(|&b| b == 7));
    }
}
