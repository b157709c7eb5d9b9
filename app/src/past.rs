//! What the window asks of the history, carried out: called from a worker's thread.

use history::{History, Opened, Query, Trend};

use crate::view::{HistoryAsk, HistoryPage};

/// Does what is asked and looks up the runs that `search` finds; the second value is a note for the log, if opening the
/// history took more than that.
pub fn ask(ask: HistoryAsk, search: &str) -> anyhow::Result<(HistoryPage, Option<String>)> {
    let Opened { mut history, note } = History::of_user()?;
    let mut page = HistoryPage::default();
    match ask {
        HistoryAsk::List(_) => {}
        HistoryAsk::Trend(id) => page.trend = Some((id, Trend::of(history.like(&history.get(id)?)?))),
        HistoryAsk::Tags(id, tags) => history.set_tags(id, &tags)?,
        HistoryAsk::Note(id, text) => history.set_note(id, &text)?,
        HistoryAsk::Remove(id) => history.remove(id)?,
        HistoryAsk::Keep(trace) => {
            history.add(&trace)?;
        }
    }
    page.runs = history.list(&Query { text: search.to_owned(), limit: None })?;
    page.all = history.count()?;
    Ok((page, note))
}
