//! What the window asks of the history, carried out: used from a worker's thread.

use history::{History, Opened, Query, Trend};

use crate::view::{HistoryAsk, HistoryPage};

/// The user's history, opened when it is first asked for and then kept open: opening checks the whole database.
#[derive(Default)]
pub struct Past {
    open: Option<History>,
}

impl Past {
    /// Does what is asked and looks up the runs that `search` finds; the second value is a note for the log, if opening
    /// the history took more than that.
    pub fn ask(&mut self, ask: HistoryAsk, search: &str) -> anyhow::Result<(HistoryPage, Option<String>)> {
        let (mut history, note) = match self.open.take() {
            Some(history) => (history, None),
            None => {
                let Opened { history, note } = History::of_user()?;
                (history, note)
            }
        };
        // After an error it is opened, and so checked, anew.
        let page = answer(&mut history, ask, search)?;
        self.open = Some(history);
        Ok((page, note))
    }
}

fn answer(history: &mut History, ask: HistoryAsk, search: &str) -> anyhow::Result<HistoryPage> {
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
    Ok(page)
}
