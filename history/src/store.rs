//! The history's folder.

use std::path::{Path, PathBuf};

use profiler::Trace;
use rusqlite::{Connection, OptionalExtension, params};

use crate::entry::{COLUMNS, words};
use crate::{Entry, HistoryError, Query, database};

/// Traces beyond this sum of bytes are removed, oldest first; their rows stay.
const KEPT_BYTES: u64 = 2 << 30;

/// An open history.
#[derive(Debug)]
pub struct History {
    folder: PathBuf,
    db: Connection,
    kept_bytes: u64,
}

/// A history, and what had to be done to open it.
#[derive(Debug)]
pub struct Opened {
    /// The history.
    pub history: History,
    /// In words what became of a damaged database, if there was one.
    pub note: Option<String>,
}

impl History {
    /// The user's own: the folder that `STRATOSCOPE_HISTORY` names, else one in the user's data folder.
    pub fn of_user() -> Result<Opened, HistoryError> {
        let folder = match std::env::var_os("STRATOSCOPE_HISTORY").filter(|v| !v.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => directories::ProjectDirs::from("", "", "stratoscope")
                .map(|d| d.data_dir().join("history"))
                .ok_or(HistoryError::NoFolder)?,
        };
        History::open(&folder)
    }

    /// The history in this folder, which is made if need be.
    pub fn open(folder: &Path) -> Result<Opened, HistoryError> {
        let traces = folder.join("traces");
        std::fs::create_dir_all(&traces).map_err(|source| HistoryError::Io { path: traces.clone(), source })?;
        let (db, note) = database::open(&folder.join("history.db"))?;
        let history = History { folder: folder.to_owned(), db, kept_bytes: KEPT_BYTES };
        let note = match note {
            Some(note) => {
                let n = history.recover()?;
                Some(format!("{note}; {n} runs were listed anew from their traces, without tags and notes"))
            }
            None => None,
        };
        Ok(Opened { history, note })
    }

    /// Lists every trace in the folder in an empty database; gives back how many. What can't be opened is left alone.
    fn recover(&self) -> Result<usize, HistoryError> {
        let path = self.traces();
        let files = std::fs::read_dir(&path).map_err(|source| HistoryError::Io { path, source })?;
        let mut found: Vec<(Entry, String, u64)> = files
            .flatten()
            .filter_map(|f| {
                let trace = profiler::import::open(&f.path()).ok()?;
                Some((Entry::of(&trace), f.file_name().into_string().ok()?, f.metadata().map_or(0, |m| m.len())))
            })
            .collect();
        found.sort_by(|a, b| (a.0.unix_s, &a.1).cmp(&(b.0.unix_s, &b.1)));
        for (entry, file, bytes) in &found {
            self.insert(entry, file, *bytes).map_err(|e| self.failed(e))?;
        }
        Ok(found.len())
    }

    fn traces(&self) -> PathBuf {
        self.folder.join("traces")
    }

    fn failed(&self, source: rusqlite::Error) -> HistoryError {
        HistoryError::Database { path: self.folder.join("history.db"), source }
    }

    /// Keeps a run: its trace in a file, then its row. Gives back its number.
    pub fn add(&mut self, trace: &Trace) -> Result<i64, HistoryError> {
        let entry = Entry::of(trace);
        let name = self.free_name(&entry);
        let path = self.traces().join(&name);
        profiler::export::write(trace, &path)?;
        let bytes = std::fs::metadata(&path).map_or(0, |m| m.len());
        let inserted = self.insert(&entry, &name, bytes);
        if inserted.is_err() {
            std::fs::remove_file(&path).ok();
        }
        let id = inserted.map_err(|e| self.failed(e))?;
        self.prune()?;
        Ok(id)
    }

    /// A file name that tells a person what it is, and that no file has.
    fn free_name(&self, entry: &Entry) -> String {
        let plain: String = entry
            .model
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
            .take(60)
            .collect();
        let stem = format!("{}-{}", entry.unix_s, plain.trim_start_matches('.'));
        (0..)
            .map(|n| if n == 0 { format!("{stem}.scope") } else { format!("{stem}-{n}.scope") })
            .find(|name| !self.traces().join(name).exists())
            .unwrap_or_default()
    }

    fn insert(&self, e: &Entry, file: &str, bytes: u64) -> rusqlite::Result<i64> {
        let signed = |v: u64| i64::try_from(v).unwrap_or(i64::MAX);
        let dims = serde_json::to_string(&e.dims).unwrap_or_default();
        self.db.execute(
            "INSERT INTO runs (unix_s, model, model_path, model_hash, device, device_kind, threads, precision, fusion, dims, \
             producer, runs, median_ns, mad_ns, p90_ns, p99_ns, weights_bytes, peak_bytes, warnings, trace_file, trace_bytes) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
            params![
                e.unix_s,
                e.model,
                e.model_path,
                e.model_hash,
                e.device,
                e.device_kind,
                e.threads,
                e.precision,
                e.fusion,
                dims,
                e.producer,
                e.runs,
                e.median_ns,
                e.mad_ns,
                e.p90_ns,
                e.p99_ns,
                signed(e.weights_bytes),
                signed(e.peak_bytes),
                e.warnings,
                file,
                signed(bytes),
            ],
        )?;
        Ok(self.db.last_insert_rowid())
    }

    /// Removes the oldest traces while all together are too large. The newest always stays.
    fn prune(&mut self) -> Result<(), HistoryError> {
        let result = (|| {
            let mut statement = self.db.prepare(
                "SELECT id, trace_file, trace_bytes FROM runs WHERE trace_file IS NOT NULL ORDER BY unix_s DESC, id DESC",
            )?;
            let rows =
                statement.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?, r.get::<_, i64>(2)?)))?;
            let mut sum = 0u64;
            let mut gone = Vec::new();
            for (i, row) in rows.enumerate() {
                let (id, file, bytes) = row?;
                sum = sum.saturating_add(u64::try_from(bytes).unwrap_or(0));
                if i > 0 && sum > self.kept_bytes {
                    gone.push((id, file));
                }
            }
            Ok(gone)
        })();
        for (id, file) in result.map_err(|e| self.failed(e))? {
            self.forget_trace(id, &file)?;
        }
        Ok(())
    }

    /// The row first: a file without a row is harmless, a row without its file is not.
    fn forget_trace(&self, id: i64, file: &str) -> Result<(), HistoryError> {
        self.db
            .execute("UPDATE runs SET trace_file = NULL, trace_bytes = 0 WHERE id = ?1", [id])
            .map_err(|e| self.failed(e))?;
        self.remove_file(file);
        Ok(())
    }

    fn remove_file(&self, file: &str) {
        if let Some(path) = self.path_of(file)
            && let Err(e) = std::fs::remove_file(&path)
        {
            log::warn!("{}: {e}", path.display());
        }
    }

    /// The path of a trace; `None` for a name that leads out of the folder.
    fn path_of(&self, file: &str) -> Option<PathBuf> {
        let plain = Path::new(file).file_name().is_some_and(|n| n == file);
        plain.then(|| self.traces().join(file))
    }

    /// The runs that a query finds, newest first.
    pub fn list(&self, query: &Query) -> Result<Vec<Entry>, HistoryError> {
        let (condition, values) = query.sql();
        let found = || -> rusqlite::Result<Vec<Entry>> {
            let mut statement = self.db.prepare(&format!("SELECT {COLUMNS} FROM runs WHERE {condition}"))?;
            let rows = statement.query_map(rusqlite::params_from_iter(values), Entry::read)?;
            rows.collect()
        };
        found().map_err(|e| self.failed(e))
    }

    /// How many runs there are.
    pub fn count(&self) -> Result<u64, HistoryError> {
        let count: i64 =
            self.db.query_row("SELECT count(*) FROM runs", [], |r| r.get(0)).map_err(|e| self.failed(e))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// One run.
    pub fn get(&self, id: i64) -> Result<Entry, HistoryError> {
        self.db
            .query_row(&format!("SELECT {COLUMNS} FROM runs WHERE id = ?1"), [id], Entry::read)
            .optional()
            .map_err(|e| self.failed(e))?
            .ok_or(HistoryError::NoRun(id))
    }

    /// The runs that measured the same thing in the same way as this one, oldest first, itself among them.
    pub fn like(&self, entry: &Entry) -> Result<Vec<Entry>, HistoryError> {
        let found = || -> rusqlite::Result<Vec<Entry>> {
            let mut statement = self.db.prepare(&format!(
                "SELECT {COLUMNS} FROM runs WHERE (model_hash = ?1 OR model = ?2) AND device = ?3 ORDER BY unix_s, id"
            ))?;
            let rows = statement.query_map(params![entry.model_hash, entry.model, entry.device], Entry::read)?;
            rows.collect()
        };
        let mut list = found().map_err(|e| self.failed(e))?;
        list.retain(|e| e.same_setting(entry));
        Ok(list)
    }

    /// The file with a run's trace.
    pub fn trace_path(&self, id: i64) -> Result<PathBuf, HistoryError> {
        let file: Option<Option<String>> = self
            .db
            .query_row("SELECT trace_file FROM runs WHERE id = ?1", [id], |r| r.get(0))
            .optional()
            .map_err(|e| self.failed(e))?;
        let file = file.ok_or(HistoryError::NoRun(id))?;
        file.and_then(|f| self.path_of(&f)).filter(|p| p.is_file()).ok_or(HistoryError::NoTrace(id))
    }

    /// Gives a run these tags (words between spaces) in place of those that it had.
    pub fn set_tags(&mut self, id: i64, tags: &str) -> Result<(), HistoryError> {
        self.update(id, "UPDATE runs SET tags = ?2 WHERE id = ?1", &words(tags).join(" "))
    }

    /// Gives a run this note in place of the one that it had.
    pub fn set_note(&mut self, id: i64, note: &str) -> Result<(), HistoryError> {
        self.update(id, "UPDATE runs SET note = ?2 WHERE id = ?1", note.trim())
    }

    fn update(&self, id: i64, sql: &str, text: &str) -> Result<(), HistoryError> {
        match self.db.execute(sql, params![id, text]).map_err(|e| self.failed(e))? {
            0 => Err(HistoryError::NoRun(id)),
            _ => Ok(()),
        }
    }

    /// Removes a run and its trace.
    pub fn remove(&mut self, id: i64) -> Result<(), HistoryError> {
        let file: Option<Option<String>> = self
            .db
            .query_row("DELETE FROM runs WHERE id = ?1 RETURNING trace_file", [id], |r| r.get(0))
            .optional()
            .map_err(|e| self.failed(e))?;
        if let Some(file) = file.ok_or(HistoryError::NoRun(id))? {
            self.remove_file(&file);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler::fixtures;

    fn trace(model: &str, unix_s: u64) -> Trace {
        let mut t = fixtures::one_layer();
        t.meta.model = model.to_owned();
        t.meta.created_unix_s = unix_s;
        t
    }

    fn open(folder: &Path) -> History {
        let Opened { history, note } = History::open(folder).unwrap();
        assert_eq!(note, None);
        history
    }

    #[test]
    fn what_is_kept_is_found_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b);
        {
            let mut h = open(folder.path());
            a = h.add(&trace("encoder", 100)).unwrap();
            b = h.add(&trace("100%_cnn", 200)).unwrap();
            h.set_tags(a, "nightly, main nightly").unwrap();
            h.set_note(b, "  after the upgrade ").unwrap();
        }
        let h = open(folder.path());
        let find = |text: &str| {
            let found = h.list(&Query { text: text.into(), limit: None }).unwrap();
            found.iter().map(|e| e.id).collect::<Vec<_>>()
        };
        assert_eq!(find(""), [b, a]);
        assert_eq!(find("NIGHTLY enc"), [a]);
        assert_eq!(find("100%_"), [b]);
        assert_eq!(find("%"), [b], "wildcards are plain characters");
        assert_eq!(find("upgrade main"), [] as [i64; 0]);
        assert_eq!(find("'; DROP TABLE runs; --"), [] as [i64; 0]);
        assert_eq!(h.list(&Query { limit: Some(1), ..Query::default() }).unwrap().len(), 1);
        let entry = h.get(a).unwrap();
        assert_eq!((entry.tags.as_slice(), entry.has_trace), (&["main".to_owned(), "nightly".to_owned()][..], true));
        assert_eq!(entry.median_ns, trace("encoder", 100).headline().map(|s| s.median));
        assert_eq!(h.get(b).unwrap().note, "after the upgrade");
        assert_eq!(profiler::import::open(&h.trace_path(a).unwrap()).unwrap(), trace("encoder", 100));
    }

    #[test]
    fn a_removed_run_is_gone_with_its_trace() {
        let folder = tempfile::tempdir().unwrap();
        let mut h = open(folder.path());
        let id = h.add(&trace("m", 1)).unwrap();
        let path = h.trace_path(id).unwrap();
        h.remove(id).unwrap();
        assert!(!path.exists());
        assert!(matches!(h.get(id), Err(HistoryError::NoRun(_))));
        assert!(matches!(h.remove(id), Err(HistoryError::NoRun(_))));
        assert!(matches!(h.set_note(id, "x"), Err(HistoryError::NoRun(_))));
        assert_eq!(h.count().unwrap(), 0);
    }

    #[test]
    fn old_traces_make_room_and_their_figures_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut h = open(folder.path());
        let first = h.add(&trace("m", 1)).unwrap();
        let size = h.get(first).unwrap().trace_bytes;
        h.kept_bytes = size * 5 / 2;
        let ids: Vec<i64> = (2..6).map(|t| h.add(&trace("m", t)).unwrap()).collect();
        assert!(matches!(h.trace_path(first), Err(HistoryError::NoTrace(_))));
        assert!(h.trace_path(ids[3]).is_ok() && h.trace_path(ids[2]).is_ok() && h.trace_path(ids[1]).is_err());
        assert_eq!(h.count().unwrap(), 5);
        assert_eq!(std::fs::read_dir(folder.path().join("traces")).unwrap().count(), 2);
        h.kept_bytes = 0;
        let newest = h.add(&trace("m", 9)).unwrap();
        assert!(h.trace_path(newest).is_ok(), "the newest stays whatever its size");
    }

    #[test]
    fn damaged_databases_are_set_aside_and_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.db");
        let mut h = open(folder.path());
        for i in 0..200 {
            h.add(&trace("m", i)).unwrap();
        }
        let entry = |h: &History| Entry { id: 0, ..h.list(&Query::default()).unwrap()[7].clone() };
        let before = entry(&h);
        drop(h);
        std::fs::write(folder.path().join("traces/stray.scope"), b"no trace").unwrap();
        let whole = std::fs::read(&file).unwrap();
        let mut broken = whole.clone();
        let middle = broken.len() / 2;
        broken[4096..middle].fill(0xA5);
        for damage in [b"not a database at all, but long enough to be looked at".to_vec(), broken, vec![7; 5000]] {
            std::fs::write(&file, &damage).unwrap();
            for ending in ["-wal", "-shm"] {
                std::fs::remove_file(format!("{}{ending}", file.display())).ok();
            }
            let Opened { mut history, note } = History::open(folder.path()).unwrap();
            let note = note.expect("a note about the damage");
            assert!(note.contains("history.db.damaged-"), "{note}");
            assert_eq!(history.count().unwrap(), 200, "the list is made anew");
            assert_eq!(entry(&history), before);
            let id = history.add(&trace("again", 1)).unwrap();
            history.remove(id).unwrap();
            let kept = std::fs::read_dir(folder.path()).unwrap().filter_map(|e| {
                let path = e.unwrap().path();
                path.to_string_lossy().contains(".damaged-").then(|| std::fs::read(path).unwrap())
            });
            assert!(kept.into_iter().any(|k| k == damage), "the damaged file is kept as it was");
        }
    }

    #[test]
    fn a_newer_or_foreign_database_is_not_harmed() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(folder.path()));
        let file = folder.path().join("history.db");
        let db = Connection::open(&file).unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
        drop(db);
        assert!(matches!(History::open(folder.path()), Err(HistoryError::Newer { found: 99, .. })));
        assert!(file.exists());
    }

    #[test]
    fn two_programs_write_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let path = folder.path().to_owned();
                std::thread::spawn(move || {
                    let mut h = History::open(&path).unwrap().history;
                    (0..5).for_each(|i| {
                        h.add(&trace(&format!("m{n}"), i)).unwrap();
                    });
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        let h = open(folder.path());
        assert_eq!(h.count().unwrap(), 20);
        for e in h.list(&Query::default()).unwrap() {
            assert!(h.trace_path(e.id).is_ok(), "{}", e.id);
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let mut h = open(folder.path());
        let id = h.add(&trace("../../etc/passwd", 1)).unwrap();
        assert!(h.trace_path(id).unwrap().starts_with(folder.path()));
        h.db.execute("UPDATE runs SET trace_file = '../history.db'", []).unwrap();
        assert!(matches!(h.trace_path(id), Err(HistoryError::NoTrace(_))));
        h.remove(id).unwrap();
        assert!(folder.path().join("history.db").exists());
    }
}
