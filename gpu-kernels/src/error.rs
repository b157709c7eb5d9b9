//! What can go wrong on a device.

/// An error of a device, a buffer, a shader or a kernel call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// No adapter answered.
    #[error(
        "no GPU adapter found; install a driver (on Debian, mesa-vulkan-drivers gives a software one) or run on the CPU"
    )]
    NoAdapter,
    /// The adapter's number is not in the list.
    #[error("there is no adapter {index}; {count} were found (list them with `stratoscope devices`)")]
    NoSuchAdapter {
        /// The number asked for.
        index: usize,
        /// How many adapters there are.
        count: usize,
    },
    /// The adapter refused to give a device.
    #[error("adapter {adapter} gave no device: {why}")]
    Open {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        why: String,
    },
    /// The device was lost: reset, unplugged, or its driver stopped.
    #[error("the GPU device was lost ({0}); open it again or run on the CPU")]
    Lost(String),
    /// The device has no room for a buffer.
    #[error("out of GPU memory for {label} ({bytes} bytes): {why}")]
    OutOfMemory {
        /// The buffer's label.
        label: String,
        /// Its size.
        bytes: u64,
        /// The budget, or the driver's words.
        why: String,
    },
    /// A buffer or a binding is larger than the device allows.
    #[error("{label} is too large for this device: {bytes} bytes, and its {what} is {limit}")]
    TooLarge {
        /// The buffer's label.
        label: String,
        /// Its size.
        bytes: u64,
        /// The limit's name.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A shader does not compile, or a call names what the shader does not have.
    #[error("shader {kernel}: {why}")]
    Shader {
        /// The kernel's name.
        kernel: String,
        /// What is wrong.
        why: String,
    },
    /// The operands of a kernel do not fit each other.
    #[error("{kernel}: {why}")]
    Argument {
        /// The kernel's name.
        kernel: String,
        /// What is wrong.
        why: String,
    },
    /// wgpu refused a call.
    #[error("{label}: {why}")]
    Validation {
        /// What was being made or run.
        label: String,
        /// wgpu's words.
        why: String,
    },
}

impl GpuError {
    /// An [`GpuError::Argument`].
    pub(crate) fn argument(kernel: &str, why: impl Into<String>) -> Self {
        GpuError::Argument { kernel: kernel.to_owned(), why: why.into() }
    }

    /// wgpu's own error under our label.
    pub(crate) fn from_wgpu(label: &str, error: wgpu::Error) -> Self {
        match error {
            wgpu::Error::OutOfMemory { source } => {
                GpuError::OutOfMemory { label: label.to_owned(), bytes: 0, why: source.to_string() }
            }
            other => GpuError::Validation { label: label.to_owned(), why: other.to_string() },
        }
    }
}
