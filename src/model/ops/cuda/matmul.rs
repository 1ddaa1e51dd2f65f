//! Matrix products through cuBLAS, with the sums in f32.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::cuda_backend::cudarc::cublas::{result, sys};
use candle_core::cuda_backend::set_gemm_reduced_precision_f32;
use candle_core::{CudaDevice, DType, Error, Result};

use super::Arg;

pub use crate::model::ops::Precision;

static HALF: AtomicBool = AtomicBool::new(false);

/// Chooses for the whole process; [`Precision::Full`] until then.
pub fn set_precision(precision: Precision) {
    HALF.store(precision == Precision::Half, Ordering::Relaxed);
    set_gemm_reduced_precision_f32(precision == Precision::Half);
}

/// What was chosen.
pub fn precision() -> Precision {
    if HALF.load(Ordering::Relaxed) { Precision::Half } else { Precision::Full }
}

/// A row-major matrix on the card.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    pub at: Arg,
    /// f32 or bf16.
    pub dtype: DType,
    /// Whether it is meant transposed.
    pub turned: bool,
}

impl Matrix {
    /// An f32 matrix as it lies.
    pub fn new(at: Arg) -> Self {
        Matrix { at, dtype: DType::F32, turned: false }
    }

    /// Its transpose.
    pub fn t(self) -> Self {
        Matrix { turned: !self.turned, ..self }
    }
}

/// `out = alpha · a·b`, added to what f32 `out` holds where `add`; `a` is m × k, `b` k × n.
pub(crate) fn matmul(
    device: &CudaDevice,
    out: Arg,
    (m, k, n): (usize, usize, usize),
    a: Matrix,
    b: Matrix,
    alpha: f32,
    add: bool,
) -> Result<()> {
    if m == 0 || n == 0 {
        return Ok(());
    }
    let (Arg::At(out), Arg::At(a_at), Arg::At(b_at)) = (out, a.at, b.at) else {
        candle_core::bail!("a matrix product wants addresses")
    };
    let kind = match a.dtype {
        DType::BF16 => sys::cudaDataType_t::CUDA_R_16BF,
        _ => sys::cudaDataType_t::CUDA_R_32F,
    };
    let compute = match (a.dtype, precision()) {
        (DType::F32, Precision::Half) => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        _ => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
    };
    let turn = |turned: bool| match turned {
        true => sys::cublasOperation_t::CUBLAS_OP_T,
        false => sys::cublasOperation_t::CUBLAS_OP_N,
    };
    // cuBLAS counts in columns: its view of each matrix is the transpose, so outᵀ = bᵀ·aᵀ.
    let beta = if add { 1f32 } else { 0f32 };
    let blas = device.cublas_handle();
    // SAFETY: the addresses hold matrices of these sizes, which the callers allocated.
    unsafe {
        result::gemm_ex(
            *blas.handle(),
            turn(b.turned),
            turn(a.turned),
            n as i32,
            m as i32,
            k as i32,
            (&raw const alpha).cast(),
            b_at as *const c_void,
            kind,
            if b.turned { k } else { n } as i32,
            a_at as *const c_void,
            kind,
            if a.turned { m } else { k } as i32,
            (&raw const beta).cast(),
            out as *mut c_void,
            sys::cudaDataType_t::CUDA_R_32F,
            n as i32,
            compute,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )
    }
    .map_err(Error::wrap)
}
