//! Between burn's tensors and slices: no copy where the tensor has one owner.

use burn::tensor::{Device, Tensor, TensorData};

/// A tensor's values, row-major.
pub fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("the engine computes in f32")
}

/// A tensor from values, row-major.
pub fn from_host<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}
