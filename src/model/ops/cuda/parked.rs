//! Page-locked host memory in which tensors wait until they are needed on the card again.
//!
//! Copies to and from it are queued like any launch, at the full speed of the bus; from ordinary
//! memory the driver copies through a buffer of its own and waits. Locking pages is slow, so that
//! a place that became free is used again; [`release`] gives all of them back.

use std::ffi::c_void;
use std::sync::Mutex;

use candle_core::cuda_backend::cudarc::driver::result::{free_host, malloc_host};
use candle_core::cuda_backend::cudarc::driver::sys;
use candle_core::{DType, Device, Result, Shape, Tensor, bail};

use super::{Arg, at_tensor, card, room, tensor, wrap};

/// Places are whole multiples of this many bytes, so that one serves tensors of several sizes.
const GRAIN: usize = 4 << 20;

/// Some page-locked memory. Only the card reads and writes it, in the order of the stream.
struct Place {
    at: *mut c_void,
    bytes: usize,
}

// SAFETY: an address that no thread dereferences.
unsafe impl Send for Place {}

/// Places that wait for another tensor.
static FREE: Mutex<Vec<Place>> = Mutex::new(Vec::new());

/// A tensor in host memory.
pub(crate) struct Parked {
    place: Option<Place>,
    shape: Shape,
}

/// Copies a tensor of f32 to host memory; the card's own copy may be dropped at once.
pub(crate) fn park(values: &Tensor) -> Result<Parked> {
    let values = values.contiguous()?;
    let (device, Arg::At(from)) = (card(values.device())?, at_tensor(&values)?) else {
        bail!("a tensor without an address")
    };
    if values.dtype() != DType::F32 {
        bail!("only f32 is parked, not {:?}", values.dtype());
    }
    let bytes = 4 * values.elem_count();
    let place = place(bytes.next_multiple_of(GRAIN))?;
    let stream = device.cuda_stream();
    // SAFETY: the place holds `bytes` bytes, and is given away again only after work queued later.
    unsafe { sys::cuMemcpyDtoHAsync_v2(place.at, from, bytes, stream.cu_stream()) }
        .result()
        .map_err(wrap)?;
    Ok(Parked { place: Some(place), shape: values.shape().clone() })
}

fn place(bytes: usize) -> Result<Place> {
    if let Ok(mut free) = FREE.lock() {
        let fits = free.iter().enumerate().filter(|(_, place)| place.bytes >= bytes);
        if let Some((best, _)) = fits.min_by_key(|(_, place)| place.bytes) {
            return Ok(free.swap_remove(best));
        }
    }
    // SAFETY: nothing reads it before a copy wrote it.
    let at = unsafe { malloc_host(bytes, 0) }.map_err(wrap)?;
    Ok(Place { at, bytes })
}

impl Parked {
    /// Back on the card it came from.
    pub fn back(&self, device: &Device) -> Result<Tensor> {
        let (device, Some(place)) = (card(device)?, &self.place) else {
            bail!("a parked tensor has no place")
        };
        let n = self.shape.elem_count();
        let (slice, Arg::At(to)) = room(device, n)? else { bail!("room without an address") };
        let stream = device.cuda_stream();
        // SAFETY: both hold n values, and both copies are queued on the same stream.
        unsafe { sys::cuMemcpyHtoDAsync_v2(to, place.at, 4 * n, stream.cu_stream()) }
            .result()
            .map_err(wrap)?;
        Ok(tensor(slice, device, &self.shape))
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if let (Some(place), Ok(mut free)) = (self.place.take(), FREE.lock()) {
            free.push(place);
        }
    }
}

/// Gives free places back to the system, once the card is done with them.
pub fn release(device: &Device) -> Result<()> {
    device.synchronize()?;
    if let Ok(mut free) = FREE.lock() {
        for place in free.drain(..) {
            // SAFETY: it came from `malloc_host`, and nothing queued uses it any more.
            unsafe { free_host(place.at) }.map_err(wrap)?;
        }
    }
    Ok(())
}
