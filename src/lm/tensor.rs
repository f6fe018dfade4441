//! Conversion between burn tensors and slices, without a copy if the tensor has one owner.

use burn::backend::Flex;
use burn::tensor::{Device, Tensor, TensorData};

/// A tensor's values, row-major.
pub fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("the engine computes in f32")
}

/// A tensor from values, row-major.
pub fn from_host<const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Passes a tensor's values, row-major, to `look`; copies them only if the tensor is not
/// contiguous.
pub fn with_values<T, const D: usize>(tensor: &Tensor<D>, look: impl FnOnce(&[f32]) -> T) -> T {
    match tensor.clone().try_into_primitive::<Flex>() {
        Ok(tensor) if tensor.is_contiguous() && tensor.layout().start_offset() == 0 => {
            look(&tensor.storage::<f32>()[..tensor.layout().num_elements()])
        }
        _ => look(&host(tensor.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_shows_what_a_copy_holds_whichever_way_it_lies() {
        let tensor: Tensor<2> =
            from_host((0..6).map(|value| value as f32).collect(), [2, 3], &Device::flex());
        assert_eq!(with_values(&tensor, <[f32]>::to_vec), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(
            with_values(&tensor.transpose(), <[f32]>::to_vec),
            [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
        );
    }
}
