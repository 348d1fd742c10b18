//! Weights on the device: matrices of one input stacked into one, so that a layer's queries, keys and values are one
//! launch.

use std::collections::HashMap;
use std::sync::Arc;

use crate::EngineError;
use crate::backend::cuda::{Activations, Buffer, CudaError, Device, DeviceMatrix, ExpertProduct, Product};
use crate::gguf::{GgmlType, TensorView};
use crate::model::config::bad_model;
use crate::model::weights::{Loader, Tensors};

/// A matrix in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileMatrix<'a> {
    ty: GgmlType,
    rows: usize,
    cols: usize,
    data: &'a [u8],
}

/// Finds tensors for the device: matrices of any type that there are kernels for.
#[derive(Debug)]
pub(super) struct DeviceTensors<'a> {
    pub(super) loader: Loader<'a>,
}

/// The compiled products, one a type of weights.
#[derive(Debug, Default)]
pub(super) struct Products {
    plain: HashMap<GgmlType, Arc<Product>>,
    experts: HashMap<GgmlType, Arc<ExpertProduct>>,
}

/// One or more matrices of the same input, on the device.
#[derive(Debug)]
pub(super) struct Weights {
    parts: Vec<Part>,
    rows: usize,
}

#[derive(Debug)]
struct Part {
    matrix: DeviceMatrix,
    product: Arc<Product>,
    /// First row of the stack.
    from: usize,
}

impl<'a> DeviceTensors<'a> {
    fn matrix_of(
        name: &str,
        tensor: &TensorView<'a>,
        cols: usize,
        rows: usize,
    ) -> Result<FileMatrix<'a>, EngineError> {
        let row_bytes = tensor.ty.row_bytes(cols as u64).and_then(|bytes| usize::try_from(bytes).ok());
        let Some(bytes) = row_bytes.and_then(|bytes| bytes.checked_mul(rows)) else {
            let expected = format!("a multiple of {} for {}", tensor.ty.block_len(), tensor.ty);
            return Err(bad_model(format!("row length of tensor `{name}`"), cols, &expected));
        };
        if tensor.data.len() != bytes {
            let expected = format!("{bytes} bytes");
            return Err(bad_model(format!("size of tensor `{name}`"), tensor.data.len(), &expected));
        }
        Ok(FileMatrix { ty: tensor.ty, rows, cols, data: tensor.data })
    }
}

impl<'a> Tensors for DeviceTensors<'a> {
    type Matrix = FileMatrix<'a>;

    fn matrix(&self, name: &str, cols: usize, rows: usize) -> Result<FileMatrix<'a>, EngineError> {
        Self::matrix_of(name, &self.loader.tensor(name, &[cols, rows])?, cols, rows)
    }

    fn optional_matrix(
        &self,
        name: &str,
        cols: usize,
        rows: usize,
    ) -> Result<Option<FileMatrix<'a>>, EngineError> {
        let tensor = self.loader.optional(name, &[cols, rows])?;
        tensor.map(|tensor| Self::matrix_of(name, &tensor, cols, rows)).transpose()
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, EngineError> {
        self.loader.vector(name, len)
    }

    fn optional_vector(&self, name: &str, len: usize) -> Result<Option<Vec<f32>>, EngineError> {
        self.loader.optional_vector(name, len)
    }

    fn optional_stack(
        &self,
        name: &str,
        cols: usize,
        rows: usize,
        count: usize,
    ) -> Result<Option<FileMatrix<'a>>, EngineError> {
        let tensor = self.loader.optional(name, &[cols, rows, count])?;
        tensor.map(|tensor| Self::matrix_of(name, &tensor, cols, rows * count)).transpose()
    }
}

impl FileMatrix<'_> {
    /// Type of the weights.
    pub(super) const fn ty(&self) -> GgmlType {
        self.ty
    }

    /// Alone on the device.
    pub(super) fn upload(&self, device: &Device) -> Result<DeviceMatrix, CudaError> {
        DeviceMatrix::upload(device, self.ty, self.rows, self.cols, self.data)
    }
}

impl Products {
    /// The product of a type, compiled once.
    pub(super) fn of(&mut self, device: &Device, ty: GgmlType) -> Result<Arc<Product>, CudaError> {
        if let Some(product) = self.plain.get(&ty) {
            return Ok(Arc::clone(product));
        }
        let product = Arc::new(Product::new(device, ty)?);
        self.plain.insert(ty, Arc::clone(&product));
        Ok(product)
    }

    /// The product of experts of a type, compiled once.
    pub(super) fn of_experts(
        &mut self,
        device: &Device,
        ty: GgmlType,
    ) -> Result<Arc<ExpertProduct>, CudaError> {
        if let Some(product) = self.experts.get(&ty) {
            return Ok(Arc::clone(product));
        }
        let product = Arc::new(ExpertProduct::new(device, ty)?);
        self.experts.insert(ty, Arc::clone(&product));
        Ok(product)
    }
}

impl Weights {
    /// Stacks matrices of one input; neighbours of one type become one.
    pub(super) fn stack(
        device: &Device,
        products: &mut Products,
        matrices: &[FileMatrix<'_>],
    ) -> Result<Self, CudaError> {
        let (mut parts, mut from) = (Vec::new(), 0);
        let cols = matrices.first().map_or(0, |matrix| matrix.cols);
        for same in matrices.chunk_by(|a, b| a.ty == b.ty) {
            let rows = same.iter().map(|matrix| matrix.rows).sum();
            let ty = same[0].ty;
            let matrix = if let [one] = same {
                one.upload(device)?
            } else {
                let bytes: Vec<&[u8]> = same.iter().map(|matrix| matrix.data).collect();
                DeviceMatrix::upload(device, ty, rows, cols, &bytes.concat())?
            };
            parts.push(Part { matrix, product: products.of(device, ty)?, from });
            from += rows;
        }
        Ok(Self { parts, rows: from })
    }

    /// Rows of the whole stack.
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes on the device.
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.matrix.bytes()).sum()
    }

    /// The first matrix, for looking rows up.
    pub(super) fn table(&self) -> &DeviceMatrix {
        &self.parts[0].matrix
    }

    /// `out[r][i] = row i of the stack * x[r]`, rows of `out` lying [`Self::rows`] apart.
    pub(super) fn launch(
        &self,
        device: &Device,
        x: &Activations,
        rows: u32,
        out: &mut Buffer<f32>,
    ) -> Result<(), CudaError> {
        self.parts.iter().try_for_each(|part| {
            part.product.launch(device, &part.matrix, x, rows, out, part.from, self.rows)
        })
    }
}
