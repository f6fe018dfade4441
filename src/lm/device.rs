//! The device that runs the model: the CPU, or a CUDA GPU if the program was built with the feature
//! `cuda`.

use anyhow::Result;
use burn::tensor::Device;

use super::{memory, tiles};
use crate::engine::DeviceChoice;

/// The device of a place, ready to compute.
///
/// # Errors
/// Where a GPU is requested and the program was built without CUDA, there is no such GPU, or it
/// cannot compute. The message says what to do.
pub fn find(place: DeviceChoice) -> Result<Device> {
    match place {
        DeviceChoice::Cpu => Ok(Device::flex()),
        DeviceChoice::Auto if cuda::cards() == 0 => Ok(Device::flex()),
        DeviceChoice::Auto => cuda::card(0),
        DeviceChoice::Cuda(index) => cuda::card(index),
    }
}

/// Whether a device multiplies bf16 by bf16, faster than f32 by f32.
pub fn multiplies_bf16(device: &Device) -> bool {
    *device != Device::flex() || tiles::available()
}

/// Bytes that a base may take there; `None` if unknown.
pub fn free(place: DeviceChoice) -> Option<u64> {
    match place {
        DeviceChoice::Cpu => memory::available(),
        DeviceChoice::Auto if cuda::cards() == 0 => memory::available(),
        DeviceChoice::Auto => cuda::free(0),
        DeviceChoice::Cuda(index) => cuda::free(index),
    }
}

/// Runs work and turns a panic of the device's libraries, such as full GPU memory, into an error.
///
/// # Errors
/// Those of the work, and the message of a panic.
pub fn guarded<T>(device: &Device, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if *device == Device::flex() { work() } else { cuda::quietly(work)? }
}

/// The places to use: `auto` is every working GPU, or the CPU.
pub fn meant(places: &[DeviceChoice]) -> Vec<DeviceChoice> {
    // GPUs are searched for only if the user names no device.
    let all = || match cuda::cards() {
        0 => vec![DeviceChoice::Cpu],
        cards => (0..cards).map(DeviceChoice::Cuda).collect(),
    };
    places
        .iter()
        .flat_map(|place| if *place == DeviceChoice::Auto { all() } else { vec![*place] })
        .collect()
}

/// The engine's name, and the device's name.
pub fn describe(device: &Device) -> (&'static str, String) {
    if *device == Device::flex() {
        ("burn-flex", "cpu".to_owned())
    } else {
        ("burn-cuda", cuda::name(device))
    }
}

#[cfg(not(feature = "cuda"))]
mod cuda {
    use anyhow::{Result, bail};
    use burn::tensor::Device;

    pub fn cards() -> usize {
        0
    }

    pub fn name(_: &Device) -> String {
        "cpu".to_owned()
    }

    pub fn free(_: usize) -> Option<u64> {
        None
    }

    pub fn quietly<T>(work: impl FnOnce() -> T) -> Result<T> {
        Ok(work())
    }

    pub fn card(index: usize) -> Result<Device> {
        bail!(
            "--device cuda:{index}: this foretaste was built without CUDA; build it with \
             `CUDARC_CUDA_VERSION=13000 cargo build --release --features cuda`, or give --device \
             cpu"
        )
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::Once;

    use anyhow::{Result, anyhow, ensure};
    use burn::tensor::{Device, DeviceType, Tensor, TensorData};
    use cubecl_runtime::config::{CubeClRuntimeConfig, RuntimeConfig};
    use cudarc::driver::CudaContext;

    /// Uses default settings. Otherwise burn would read a file in the working folder or above it,
    /// where the dataset may lie.
    fn settled() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| CubeClRuntimeConfig::set(CubeClRuntimeConfig::default()));
    }

    pub fn cards() -> usize {
        settled();
        // If the driver library does not respond, there is no GPU.
        quietly(|| Device::enumerate(DeviceType::Cuda).into_iter().count()).unwrap_or(0)
    }

    pub fn name(device: &Device) -> String {
        device.identity().map_or("cuda".to_owned(), |identity| identity.name.to_string())
    }

    /// Bytes that are free on a GPU, as its driver reports.
    pub fn free(index: usize) -> Option<u64> {
        let asked = || CudaContext::new(index).and_then(|card| card.mem_get_info());
        quietly(asked).ok()?.ok().map(|(free, _)| free as u64)
    }

    pub fn card(index: usize) -> Result<Device> {
        let cards = cards();
        ensure!(
            cards > 0,
            "--device cuda:{index}: no CUDA GPU was found; check with `nvidia-smi`, or give \
             --device cpu"
        );
        ensure!(index < cards, "--device cuda:{index}: there are {cards} GPUs, counted from 0");
        quietly(|| product(index))
            .and_then(|right| {
                right.then(|| Device::cuda(index)).ok_or_else(|| anyhow!("its products are wrong"))
            })
            .map_err(|error| {
                anyhow!(
                    "--device cuda:{index}: the card cannot compute ({error}). It needs NVIDIA's \
                     driver, its runtime compiler (libnvrtc, of CUDA 12 or 13) and CUDA's headers \
                     below $CUDA_PATH/include, and free memory; --device cpu needs none of them"
                )
            })
    }

    /// Whether a product of two small matrices is right. This finds missing libraries before a run
    /// starts.
    fn product(index: usize) -> bool {
        let device = Device::cuda(index);
        let numbers: Vec<f32> = (0..256).map(|number| (number % 7) as f32).collect();
        let matrix = Tensor::<2>::from_data(TensorData::new(numbers.clone(), [16, 16]), &device);
        let got: Vec<f32> =
            matrix.clone().matmul(matrix).into_data().try_into_vec().unwrap_or_default();
        let wanted = |at: usize| {
            (0..16).map(|k| numbers[at / 16 * 16 + k] * numbers[k * 16 + at % 16]).sum::<f32>()
        };
        // Small integers are exact in every precision that a GPU may multiply in.
        got.len() == 256 && got.iter().enumerate().all(|(at, value)| *value == wanted(at))
    }

    /// Missing libraries panic: the panic message becomes an error, and nothing is printed.
    pub fn quietly<T>(work: impl FnOnce() -> T) -> Result<T> {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let result = panic::catch_unwind(AssertUnwindSafe(work));
        panic::set_hook(hook);
        result.map_err(|panic| {
            let words = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            anyhow!(
                "{}",
                words
                    .unwrap_or_else(|| "no reason given".to_owned())
                    .trim()
                    .lines()
                    .next()
                    .unwrap_or_default()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_card_the_processor_computes_and_a_card_that_is_asked_for_is_an_error() {
        assert!(find(DeviceChoice::Cpu).is_ok());
        if cuda::cards() == 0 {
            assert_eq!(
                meant(&[DeviceChoice::Auto, DeviceChoice::Cuda(1)]),
                [DeviceChoice::Cpu, DeviceChoice::Cuda(1)]
            );
            assert_eq!(find(DeviceChoice::Auto).expect("the processor"), Device::flex());
            let error = find(DeviceChoice::Cuda(3)).expect_err("no card").to_string();
            assert!(error.contains("cuda:3") && error.contains("--device cpu"), "{error}");
        }
    }
}
