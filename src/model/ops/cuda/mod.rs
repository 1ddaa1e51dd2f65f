//! The operations' kernels on an NVIDIA card, one `.cu` a family and its launches beside it.
//!
//! `build.rs` compiles them to PTX, which the driver finishes for the card at the first launch.
//! All work is queued on one stream, so that launches run in order; no kernel adds floats
//! atomically, so that the same inputs give the same bytes.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::cuda_backend::cudarc::driver::sys;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, DevicePtr, DriverError, LaunchConfig, PushKernelArg,
};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Device, Error, Layout, Result, Shape, Storage, Tensor};

pub mod adamw;
pub mod attention;
pub mod cross_entropy;
pub mod dropout;
pub mod linear;
pub mod matmul;
pub mod nf4;
pub mod parked;
pub mod rms_norm;
pub mod swiglu;

/// What CUDA needs at run time, by its name and the names a loader knows it under.
const LIBRARIES: [(&str, &[&str]); 3] = [
    ("the NVIDIA driver (libcuda)", &["libcuda.so.1", "libcuda.so"]),
    ("cuBLAS 13 (libcublas)", &["libcublas.so", "libcublas.so.13", "libcublas.so.12"]),
    ("cuRAND 10 (libcurand)", &["libcurand.so", "libcurand.so.10"]),
];

/// The first card. An error names the library that is missing: candle would panic.
pub fn device() -> anyhow::Result<Device> {
    for (called, names) in LIBRARIES {
        // SAFETY: these libraries' initialisers only set up their own state.
        let found = names.iter().any(|name| unsafe { libloading::Library::new(*name) }.is_ok());
        ensure!(found, "{called} is not installed where the loader looks (LD_LIBRARY_PATH)");
    }
    let device = Device::new_cuda_with_stream(0)?;
    let card = card(&device)?;
    // An old driver or card is found out here, not at the first step.
    swiglu::load(card).context(
        "the card or its driver cannot run this build's kernels; driver 580 or newer and compute \
         capability 8.0 or newer are needed",
    )?;
    // SAFETY: this stream is the only one that ever uses the tensors.
    unsafe { card.disable_event_tracking() };
    // Freed memory stays with the process: giving it back at every synchronisation is slow.
    let mut keep = u64::MAX;
    let pool = pool().context("the card's memory pool")?;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: this attribute is a u64.
    unsafe { sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut keep).cast()) }.result()?;
    Ok(device)
}

fn pool() -> std::result::Result<sys::CUmemoryPool, DriverError> {
    let mut pool = std::ptr::null_mut();
    // SAFETY: writes one handle; `Device::new_cuda_with_stream` has initialised the driver.
    unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, 0) }.result()?;
    Ok(pool)
}

/// The most memory that tensors have taken on the card since the last call, in bytes.
pub fn peak_bytes() -> anyhow::Result<u64> {
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
    let (mut peak, mut zero, pool) = (0u64, 0u64, pool()?);
    // SAFETY: this attribute is a u64, and setting it to 0 restarts it.
    unsafe {
        sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut peak).cast()).result()?;
        sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut zero).cast()).result()?;
    }
    Ok(peak)
}

/// What the card has free, in bytes; another program may hold the rest.
pub fn free_bytes() -> anyhow::Result<u64> {
    let (mut free, mut total) = (0usize, 0usize);
    // SAFETY: both addresses hold a usize for the call's duration.
    unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut total).result()? };
    Ok(free as u64)
}

/// Fills every new output with NaN first, so that a check sees what a kernel did not write.
pub static POISON: AtomicBool = AtomicBool::new(false);

/// The card that a device is.
pub(crate) fn card(device: &Device) -> Result<&CudaDevice> {
    device.as_cuda_device()
}

fn wrap(error: DriverError) -> Error {
    Error::wrap(error)
}

/// A kernel's argument.
#[derive(Clone, Copy)]
pub(crate) enum Arg {
    /// An address on the card; 0 for none.
    At(u64),
    Int(i32),
    Float(f32),
}

impl From<usize> for Arg {
    fn from(n: usize) -> Self {
        Arg::Int(n as i32)
    }
}

impl Arg {
    /// The address `values` values of 32 bits further on.
    pub fn skip(self, values: usize) -> Arg {
        match self {
            Arg::At(address) => Arg::At(address + 4 * values as u64),
            other => other,
        }
    }
}

/// One of this crate's PTX modules.
pub(crate) struct Module {
    pub name: &'static str,
    pub ptx: &'static str,
}

/// The PTX that `build.rs` made of `NAME.cu`.
macro_rules! module {
    ($name:literal) => {
        crate::model::ops::cuda::Module {
            name: $name,
            ptx: include_str!(concat!(env!("OUT_DIR"), "/", $name, ".ptx")),
        }
    };
}
pub(crate) use module;

/// Threads in a block of most kernels here.
pub(crate) const THREADS: usize = 256;

/// [`launch_blocks`] of [`THREADS`] threads.
pub(crate) fn launch(
    device: &CudaDevice,
    module: &Module,
    function: &str,
    grid: (usize, usize),
    shared: usize,
    args: &[Arg],
) -> Result<()> {
    launch_blocks(device, module, function, (grid, THREADS), shared, args)
}

/// Queues `function` on a grid of blocks of some threads, with `shared` bytes of shared memory each. The caller
/// answers for the arguments: they must be what the kernel declares, and their memory alive.
pub(crate) fn launch_blocks(
    device: &CudaDevice,
    module: &Module,
    function: &str,
    (grid, threads): ((usize, usize), usize),
    shared: usize,
    args: &[Arg],
) -> Result<()> {
    if grid.0 == 0 || grid.1 == 0 {
        return Ok(());
    }
    let function = device.get_or_load_custom_func(function, module.name, module.ptx)?;
    if shared > 48 << 10 {
        use sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as MOST;
        function.set_attribute(MOST, shared as i32).map_err(wrap)?;
    }
    let config = LaunchConfig {
        grid_dim: (grid.0 as u32, grid.1 as u32, 1),
        block_dim: (threads as u32, 1, 1),
        shared_mem_bytes: shared as u32,
    };
    let mut builder = function.builder();
    for arg in args {
        match arg {
            Arg::At(address) => builder.arg(address),
            Arg::Int(n) => builder.arg(n),
            Arg::Float(x) => builder.arg(x),
        };
    }
    // SAFETY: the launches beside the kernels pass what these declare.
    unsafe { builder.launch(config) }.map_err(wrap)?;
    Ok(())
}

/// Where a contiguous storage begins.
pub(crate) fn at(storage: &CudaStorage, layout: &Layout) -> Result<Arg> {
    let Some((from, _)) = layout.contiguous_offsets() else {
        candle_core::bail!("a kernel needs a contiguous input, got strides {:?}", layout.stride())
    };
    let stream = storage.device().cuda_stream();
    let start = match &storage.slice {
        CudaStorageSlice::F32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::U32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::BF16(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::I64(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::F64(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::U8(slice) => slice.device_ptr(&stream).0,
        _ => candle_core::bail!("a kernel was given {:?}", storage.dtype()),
    };
    Ok(Arg::At(start + (from * storage.dtype().size_in_bytes()) as u64))
}

/// Where a contiguous tensor begins; it must outlive the launch.
pub(crate) fn at_tensor(tensor: &Tensor) -> Result<Arg> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => at(storage, layout),
        _ => candle_core::bail!("a kernel was given a tensor on another device"),
    }
}

/// Room for `n` values that a kernel is about to write, and where it begins.
pub(crate) fn room(device: &CudaDevice, n: usize) -> Result<(CudaSlice<f32>, Arg)> {
    // SAFETY: every value is written before any is read; `POISON` lets the GPU check see it.
    let slice = unsafe { device.alloc::<f32>(n) }?;
    let stream = device.cuda_stream();
    let address = slice.device_ptr(&stream).0;
    if POISON.load(Ordering::Relaxed) && n > 0 {
        // SAFETY: the slice has `n` values of 32 bits.
        unsafe { sys::cuMemsetD32Async(address, u32::MAX, n, stream.cu_stream()) }
            .result()
            .map_err(wrap)?;
    }
    Ok((slice, Arg::At(address)))
}

/// What a kernel wrote, as an operation's result.
pub(crate) fn storage(slice: CudaSlice<f32>, device: &CudaDevice) -> CudaStorage {
    CudaStorage::wrap_cuda_slice(slice, device.clone())
}

/// What a kernel wrote, as a tensor outside any graph.
pub(crate) fn tensor(
    slice: CudaSlice<f32>,
    device: &CudaDevice,
    shape: impl Into<Shape>,
) -> Tensor {
    let storage = Storage::Cuda(storage(slice, device));
    Tensor::from_storage(storage, shape, BackpropOp::none(), false)
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_missing_is_named() {
        // Where a card can be used there is nothing to name.
        if let Err(error) = super::device() {
            let message = format!("{error:#}");
            let named = ["libcuda", "libcublas", "libcurand", "driver", "card"];
            assert!(named.iter().any(|name| message.contains(name)), "{message}");
        }
    }
}
