//! Reading pictures between their elements: grids of places, regions of interest, deformed kernels, cropped parts.

mod crop;
mod deform;
mod grid;
mod roi;

pub use crop::{Crop, crop_resize};
pub use deform::{Deform, deform_conv};
pub use grid::{Grid, Interpolation, Outside, grid_sample};
pub use roi::{RoiAlign, max_roi_pool, roi_align};

/// The four neighbours of a place in a plane of `h` x `w` with their weights; those outside are left out.
fn bilinear(y: f64, x: f64, h: usize, w: usize) -> impl Iterator<Item = (usize, f64)> {
    let (y0, x0) = (y.floor(), x.floor());
    let (fy, fx) = (y - y0, x - x0);
    let corners = [
        (0.0, 0.0, (1.0 - fy) * (1.0 - fx)),
        (0.0, 1.0, (1.0 - fy) * fx),
        (1.0, 0.0, fy * (1.0 - fx)),
        (1.0, 1.0, fy * fx),
    ];
    corners.into_iter().filter_map(move |(dy, dx, weight)| {
        let (y, x) = (y0 + dy, x0 + dx);
        let inside = y >= 0.0 && y < h as f64 && x >= 0.0 && x < w as f64;
        inside.then(|| (y as usize * w + x as usize, weight))
    })
}
