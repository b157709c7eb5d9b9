//! Which engine runs a model.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Which engine runs a model.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
pub enum EngineChoice {
    /// Ours.
    #[default]
    Own,
    /// ONNX Runtime, from the user's own library.
    OnnxRuntime {
        /// The library, or a folder that holds it; `None` = the one that is found.
        library: Option<PathBuf>,
    },
    /// A command that runs the model and leaves a profile.
    External(String),
}

impl EngineChoice {
    /// A few words for a column or a list.
    pub fn label(&self) -> &'static str {
        match self {
            EngineChoice::Own => "own",
            EngineChoice::OnnxRuntime { .. } => "onnxruntime",
            EngineChoice::External(_) => "external",
        }
    }
}

impl FromStr for EngineChoice {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s.split_once(':').unwrap_or((s, "")) {
            ("own", "") => Ok(EngineChoice::Own),
            ("onnxruntime" | "ort", "") => Ok(EngineChoice::OnnxRuntime { library: None }),
            ("onnxruntime" | "ort", path) => Ok(EngineChoice::OnnxRuntime { library: Some(path.into()) }),
            ("external", command) => {
                peers::external::words(command).map_err(|e| e.to_string())?;
                Ok(EngineChoice::External(command.to_owned()))
            }
            _ => Err(format!(
                "\"{s}\" is no engine: use own, onnxruntime, onnxruntime:LIBRARY or \"external:COMMAND {{model}} {{profile}}\""
            )),
        }
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineChoice::Own => f.write_str("own"),
            EngineChoice::OnnxRuntime { library: None } => f.write_str("onnxruntime"),
            EngineChoice::OnnxRuntime { library: Some(path) } => write!(f, "onnxruntime:{}", path.display()),
            EngineChoice::External(command) => write!(f, "external:{command}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_written_and_read() {
        for text in ["own", "onnxruntime", "onnxruntime:/x/libonnxruntime.so", "external:run {model} --out '{profile}'"]
        {
            let choice: EngineChoice = text.parse().unwrap();
            assert_eq!(choice.to_string(), text);
            let json = serde_json::to_string(&choice).unwrap();
            assert_eq!(serde_json::from_str::<EngineChoice>(&json).unwrap(), choice);
        }
        let windows: EngineChoice = r"onnxruntime:C:\x\onnxruntime.dll".parse().unwrap();
        assert_eq!(windows, EngineChoice::OnnxRuntime { library: Some(r"C:\x\onnxruntime.dll".into()) });
        for bad in ["", "tvm", "own:x", "external:", "external:run {model}"] {
            assert!(bad.parse::<EngineChoice>().is_err(), "{bad}");
        }
    }
}
