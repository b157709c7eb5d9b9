//! What people tune.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::PeerError;

/// An option of ONNX Runtime.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// Its name.
    pub name: &'static str,
    /// The values that it can have; empty for a number or a name.
    pub values: &'static [&'static str],
    /// What it does.
    pub about: &'static str,
}

const SWITCH: &[&str] = &["on", "off"];

/// The options, in the order in which they are shown.
pub const fn describe_options() -> &'static [OptionInfo] {
    &[
        OptionInfo { name: "level", values: &["disable", "basic", "extended", "all"], about: "graph optimisation" },
        OptionInfo { name: "mode", values: &["sequential", "parallel"], about: "how independent operators run" },
        OptionInfo { name: "inter_threads", values: &[], about: "threads across operators, with mode=parallel" },
        OptionInfo {
            name: "provider",
            values: &[],
            about: "execution provider: cpu, cuda, or one that the library has",
        },
        OptionInfo { name: "spinning", values: SWITCH, about: "idle threads spin before they sleep" },
        OptionInfo { name: "memory_pattern", values: SWITCH, about: "one block for all activations of a known shape" },
        OptionInfo { name: "arena", values: SWITCH, about: "keep freed memory for later" },
        OptionInfo { name: "prepacking", values: SWITCH, about: "weights in the kernels' own layout" },
    ]
}

/// Options by name; those not named are as the engine has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EngineOptions(BTreeMap<String, String>);

impl EngineOptions {
    /// Sets an option, after a look at its name and its value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), PeerError> {
        let known = describe_options();
        let Some(info) = known.iter().find(|o| o.name == name) else {
            let names: Vec<&str> = known.iter().map(|o| o.name).collect();
            return Err(PeerError::Option(format!(
                "\"{name}\" is no option of ONNX Runtime here: there are {}",
                names.join(", ")
            )));
        };
        let wrong = |what: String| PeerError::Option(format!("option {name}: \"{value}\" is {what}"));
        if !info.values.is_empty() && !info.values.contains(&value) {
            return Err(wrong(format!("none of {}", info.values.join(", "))));
        }
        if name == "inter_threads" && !value.parse().is_ok_and(|n: usize| (1..=1024).contains(&n)) {
            return Err(wrong("no number from 1 to 1024".to_owned()));
        }
        if name == "provider" && (value.is_empty() || value.contains(|c: char| !c.is_ascii_alphanumeric())) {
            return Err(wrong("no name of an execution provider".to_owned()));
        }
        self.0.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Sets an option that is written as `name=value`.
    pub fn set_pair(&mut self, pair: &str) -> Result<(), PeerError> {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            PeerError::Option(format!("\"{pair}\": write an option as name=value, for instance level=basic"))
        })?;
        self.set(name.trim(), value.trim())
    }

    /// Leaves an option to the engine.
    pub fn unset(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// An option's value, if it was set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A switch, if it was set.
    pub fn switch(&self, name: &str) -> Option<bool> {
        self.get(name).map(|v| v == "on")
    }

    /// The options that were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// True if none was set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_looked_at() {
        let mut options = EngineOptions::default();
        for pair in ["level=basic", "mode=parallel", "inter_threads=2", "provider=cuda", "spinning=off", "arena = on"] {
            options.set_pair(pair).unwrap();
        }
        assert_eq!((options.get("level"), options.switch("spinning")), (Some("basic"), Some(false)));
        assert_eq!((options.switch("arena"), options.switch("memory_pattern")), (Some(true), None));
        for (bad, says) in [
            ("levle=basic", "there are level, mode"),
            ("level=3", "none of disable, basic, extended, all"),
            ("inter_threads=0", "1 to 1024"),
            ("inter_threads=-1", "1 to 1024"),
            ("provider=", "no name"),
            ("provider=../x", "no name"),
            ("spinning=1", "none of on, off"),
            ("level", "name=value"),
        ] {
            let why = options.set_pair(bad).unwrap_err().to_string();
            assert!(why.contains(says), "{bad}: {why}");
        }
        let text = format!("{:?}", options);
        options.unset("level");
        assert!(options.get("level").is_none() && text.contains("basic"));
    }
}
