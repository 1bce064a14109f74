//! Which device runs the model. The one place where a backend is named.

use std::fmt;
use std::str::FromStr;

use burn::backend::autodiff::Autodiff;
use burn_flex::{Flex, FlexDevice};

use crate::error::{Error, Result};
use crate::kernels::TrainBackend;

/// A device as a job file names it: `cpu` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceSpec {
    /// The processor, all threads of rayon's global pool.
    #[default]
    Cpu,
    /// An NVIDIA GPU, by index.
    Cuda(usize),
}

/// Work that needs a backend; see [`DeviceSpec::dispatch`].
pub trait WithBackend {
    /// What the work returns.
    type Output;

    /// Does the work on a backend and one of its devices.
    fn run<B: TrainBackend>(self, device: B::Device) -> Self::Output;
}

impl DeviceSpec {
    /// Runs the work on the backend of this device.
    ///
    /// Fails where this build does not have the backend, or the machine not the device.
    pub fn dispatch<W: WithBackend>(self, work: W) -> Result<W::Output> {
        match self {
            Self::Cpu => Ok(work.run::<Autodiff<Flex>>(FlexDevice)),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => {
                cuda::probe(index).map_err(|message| Error::Device { device: self.to_string(), message })?;
                Ok(work.run::<Autodiff<burn_cuda::Cuda>>(burn_cuda::CudaDevice::new(index)))
            }
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => Err(Error::Device {
                device: self.to_string(),
                message:
                    "this build has no CUDA support; build with `--features cuda`, or use device = \"cpu\""
                        .into(),
            }),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let cuda = |index: &str| index.parse().ok().map(Self::Cuda);
        match text {
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(cuda),
        }
        .ok_or_else(|| Error::Device {
            device: format!("\"{text}\""),
            message: "unknown; use \"cpu\" or \"cuda:N\", N counting GPUs from 0".into(),
        })
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    //! Asks for a GPU without ending the process: the driver's loader panics where there is none.

    use std::path::Path;

    use burn::tensor::Tensor;
    use burn_cuda::{Cuda, CudaDevice};

    /// Runs one addition on the GPU; the error says what is missing.
    pub(super) fn probe(index: usize) -> Result<(), String> {
        // The second is the driver's device under Windows' Linux subsystem.
        if cfg!(target_os = "linux")
            && !["/dev/nvidiactl", "/dev/dxg"].iter().any(|path| Path::new(path).exists())
        {
            return Err("no NVIDIA driver; install it (`nvidia-smi` tells), or use device = \"cpu\"".into());
        }
        let attempt = std::thread::Builder::new().name("cuda-probe".into()).spawn(move || {
            let one = Tensor::<Cuda, 1>::ones([1], &CudaDevice::new(index));
            (one.clone() + one).into_data()
        });
        let outcome = attempt.map_err(|error| error.to_string())?.join();
        outcome.map(drop).map_err(|_| {
            "no usable NVIDIA GPU of this index; check `nvidia-smi`, or use device = \"cpu\"".into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for (text, spec) in
            [("cpu", DeviceSpec::Cpu), ("cuda:0", DeviceSpec::Cuda(0)), ("cuda:3", DeviceSpec::Cuda(3))]
        {
            assert_eq!(text.parse::<DeviceSpec>().unwrap(), spec);
            assert_eq!(spec.to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceSpec>().unwrap(), DeviceSpec::Cuda(0));
    }

    #[test]
    fn unknown_devices_are_told_the_cure() {
        for text in ["gpu", "cuda:", "cuda:-1", "cuda:x", ""] {
            let error = text.parse::<DeviceSpec>().unwrap_err().to_string();
            assert!(error.contains("cuda:N"), "{error}");
        }
    }

    struct Name;
    impl WithBackend for Name {
        type Output = String;
        fn run<B: TrainBackend>(self, device: B::Device) -> String {
            B::name(&device)
        }
    }

    #[test]
    fn cpu_runs_on_flex() {
        assert!(DeviceSpec::Cpu.dispatch(Name).unwrap().contains("flex"));
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_build_without_cuda_says_how_to_get_it() {
        let error = DeviceSpec::Cuda(0).dispatch(Name).unwrap_err().to_string();
        assert!(error.contains("--features cuda"), "{error}");
    }

    #[test]
    #[cfg(feature = "cuda")]
    fn a_missing_gpu_is_an_error_that_says_so() {
        let error = DeviceSpec::Cuda(99).dispatch(Name).unwrap_err().to_string();
        assert!(error.contains("cuda:99") && error.contains("nvidia-smi"), "{error}");
    }
}
