//! Where the model runs: this processor, or a CUDA card where the program was built for one
//! (feature `cuda`).

use anyhow::Result;
use burn::tensor::Device;

use super::memory;
use crate::engine::Place;

/// The device of a place, ready to compute.
///
/// # Errors
/// Where a card is asked for and the program was not built for any, or there is no such card, or it
/// cannot compute: with what to do.
pub fn find(place: Place) -> Result<Device> {
    match place {
        Place::Cpu => Ok(Device::flex()),
        Place::Auto if cuda::cards() == 0 => Ok(Device::flex()),
        Place::Auto => cuda::card(0),
        Place::Cuda(index) => cuda::card(index),
    }
}

/// Bytes that a base may take there; `None` where nobody tells.
pub fn free(place: Place) -> Option<u64> {
    match place {
        Place::Cpu => memory::available(),
        Place::Auto if cuda::cards() == 0 => memory::available(),
        Place::Auto => cuda::free(0),
        Place::Cuda(index) => cuda::free(index),
    }
}

/// What a panic of the device's libraries says, such as that its memory is full, as an error.
///
/// # Errors
/// The work's own, and what a panic says.
pub fn guarded<T>(device: &Device, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if *device == Device::flex() { work() } else { cuda::quietly(work)? }
}

/// The places meant: `auto` is every card that answers, or the processor.
pub fn meant(places: &[Place]) -> Vec<Place> {
    // Cards are looked for only where nobody says which.
    let all = || match cuda::cards() {
        0 => vec![Place::Cpu],
        cards => (0..cards).map(Place::Cuda).collect(),
    };
    places
        .iter()
        .flat_map(|place| if *place == Place::Auto { all() } else { vec![*place] })
        .collect()
}

/// What a run says of its device: the engine, and the device in words.
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

    /// Settings are these and no file's: burn would look for one in the working folder and above
    /// it, where the dataset may lie.
    fn settled() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| CubeClRuntimeConfig::set(CubeClRuntimeConfig::default()));
    }

    pub fn cards() -> usize {
        settled();
        // What the driver's library cannot be asked for is not there.
        quietly(|| Device::enumerate(DeviceType::Cuda).into_iter().count()).unwrap_or(0)
    }

    pub fn name(device: &Device) -> String {
        device.identity().map_or("cuda".to_owned(), |identity| identity.name.to_string())
    }

    /// Bytes that are free on a card, as its driver tells.
    pub fn free(index: usize) -> Option<u64> {
        let asked = || CudaContext::new(index).and_then(|card| card.mem_get_info());
        quietly(asked).ok()?.ok().map(|(free, _)| free as u64)
    }

    pub fn card(index: usize) -> Result<Device> {
        let cards = cards();
        ensure!(
            cards > 0,
            "--device cuda:{index}: no CUDA card answers; is there one, and does `nvidia-smi` \
             list it? --device cpu needs none"
        );
        ensure!(index < cards, "--device cuda:{index}: there are {cards} cards, counted from 0");
        quietly(|| product(index))
            .and_then(|right| {
                right.then(|| Device::cuda(index)).ok_or_else(|| anyhow!("it multiplies wrongly"))
            })
            .map_err(|error| {
                anyhow!(
                    "--device cuda:{index}: the card cannot compute ({error}). It needs NVIDIA's \
                     driver, its runtime compiler (libnvrtc, of CUDA 12 or 13) and CUDA's headers \
                     below $CUDA_PATH/include, and free memory; --device cpu needs none of them"
                )
            })
    }

    /// Whether a product of two small matrices comes out right: what is missing shows here and not
    /// in the middle of a run.
    fn product(index: usize) -> bool {
        let device = Device::cuda(index);
        let numbers: Vec<f32> = (0..256).map(|number| (number % 7) as f32).collect();
        let matrix = Tensor::<2>::from_data(TensorData::new(numbers.clone(), [16, 16]), &device);
        let got: Vec<f32> =
            matrix.clone().matmul(matrix).into_data().try_into_vec().unwrap_or_default();
        let wanted = |at: usize| {
            (0..16).map(|k| numbers[at / 16 * 16 + k] * numbers[k * 16 + at % 16]).sum::<f32>()
        };
        // Small whole numbers are exact in every precision that a card may multiply in.
        got.len() == 256 && got.iter().enumerate().all(|(at, value)| *value == wanted(at))
    }

    /// Missing libraries panic: their words become an error, and nothing is printed meanwhile.
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
                    .unwrap_or_else(|| "it does not say why".to_owned())
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
        assert!(find(Place::Cpu).is_ok());
        if cuda::cards() == 0 {
            assert_eq!(meant(&[Place::Auto, Place::Cuda(1)]), [Place::Cpu, Place::Cuda(1)]);
            assert_eq!(find(Place::Auto).expect("the processor"), Device::flex());
            let error = find(Place::Cuda(3)).expect_err("no card").to_string();
            assert!(error.contains("cuda:3") && error.contains("--device cpu"), "{error}");
        }
    }
}
