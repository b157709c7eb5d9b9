//! What to list.

use rusqlite::types::Value;

/// Which runs to list; the default lists the newest of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Words that must all occur, each in the model, device, precision, tags, note or producer.
    pub text: String,
    /// At most so many, newest first; `None` for the usual number.
    pub limit: Option<u32>,
}

/// How many runs are listed unless asked otherwise.
const USUAL: u32 = 500;

impl Query {
    /// The condition in SQL with its parameters, and the limit.
    pub(crate) fn sql(&self) -> (String, Vec<Value>) {
        let mut conditions = Vec::new();
        let mut values: Vec<Value> = Vec::new();
        for word in self.text.split_whitespace() {
            let escaped: String = word
                .chars()
                .flat_map(|c| matches!(c, '%' | '_' | '\\').then_some('\\').into_iter().chain([c]))
                .collect();
            values.push(Value::Text(format!("%{escaped}%")));
            let n = values.len();
            let fields = ["model", "model_path", "device", "device_kind", "precision", "tags", "note", "producer"];
            let any: Vec<String> = fields.iter().map(|f| format!("{f} LIKE ?{n} ESCAPE '\\'")).collect();
            conditions.push(format!("({})", any.join(" OR ")));
        }
        let condition = if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") };
        values.push(Value::Integer(i64::from(self.limit.unwrap_or(USUAL))));
        (format!("{condition} ORDER BY unix_s DESC, id DESC LIMIT ?{}", values.len()), values)
    }
}
