//! ImageDecoder: BMP, JPEG, PNG, PNM, TIFF and WebP files to pixels.

use std::io::Cursor;

use graph::{DType, Tensor};
use image::{DynamicImage, ImageReader, Limits};

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};

/// Decoding of pictures.
pub(crate) const OPS: &[OpDef] = &[OpDef { domain: "", name: "ImageDecoder", opsets: (20, NEWEST), read }];

#[derive(Clone, Copy, Debug)]
enum Pixels {
    Rgb,
    Bgr,
    Gray,
}

#[derive(Debug)]
struct ImageDecoder {
    pixels: Pixels,
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let pixels = match a.string_or("pixel_format", "RGB")? {
        "RGB" => Pixels::Rgb,
        "BGR" => Pixels::Bgr,
        "Grayscale" => Pixels::Gray,
        other => return Err(OpError::unsupported(format!("pixel_format = \"{other}\""))),
    };
    Ok(Box::new(ImageDecoder { pixels }))
}

/// Decodes a file whose pixels may take at most `limit` bytes.
fn decode(file: &[u8], limit: usize) -> Result<DynamicImage, OpError> {
    if file.starts_with(b"\0\0\0\x0cjP  ") || file.starts_with(b"\xff\x4f\xff\x51") {
        return Err(OpError::unsupported("JPEG 2000"));
    }
    let fail = |e: &dyn std::fmt::Display| OpError::invalid(format!("the picture can't be decoded: {e}"));
    let mut reader = ImageReader::new(Cursor::new(file)).with_guessed_format().map_err(|e| fail(&e))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(limit as u64);
    reader.limits(limits);
    reader.decode().map_err(|e| fail(&e))
}

impl ImageDecoder {
    /// Height, width, channels, and the pixels in rows.
    fn pixels(&self, picture: DynamicImage) -> ([usize; 3], Vec<u8>) {
        let shape = |channels| [picture.height() as usize, picture.width() as usize, channels];
        match self.pixels {
            Pixels::Rgb => (shape(3), picture.into_rgb8().into_raw()),
            Pixels::Bgr => {
                let shape = shape(3);
                let mut raw = picture.into_rgb8().into_raw();
                raw.chunks_exact_mut(3).for_each(|p| p.swap(0, 2));
                (shape, raw)
            }
            Pixels::Gray => {
                let shape = shape(1);
                // ITU-R 601, rounded.
                let luma = |p: &[u8]| {
                    ((19595 * u32::from(p[0]) + 38470 * u32::from(p[1]) + 7471 * u32::from(p[2]) + 0x8000) >> 16) as u8
                };
                (shape, picture.into_rgb8().chunks_exact(3).map(luma).collect())
            }
        }
    }
}

impl Operator for ImageDecoder {
    fn class(&self) -> OpClass {
        OpClass::Other
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        match (inputs.need(0)?.dtype, inputs.shape(0)?.unwrap_or(&[])) {
            (DType::U8, [_]) => Ok(vec![Fact::dynamic(DType::U8)]),
            (dtype, shape) => Err(OpError::invalid(format!("a file must be a row of u8, it is {dtype} {shape:?}"))),
        }
    }

    fn dtypes(&self, _: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![DType::U8])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let (shape, raw) = self.pixels(decode(cx.input(0)?.data, cx.env.limit)?);
        cx.set(0, Tensor::from_vec(&shape, raw))
    }

    fn kernel(&self) -> String {
        "decode".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_and_what_is_none() {
        let file = b"P6 2 1 255\n\x01\x02\x03\xff\x00\x00";
        for (pixels, want) in [
            (Pixels::Rgb, vec![1u8, 2, 3, 255, 0, 0]),
            (Pixels::Bgr, vec![3, 2, 1, 0, 0, 255]),
            (Pixels::Gray, vec![2, 76]),
        ] {
            let ([h, w, _], raw) = ImageDecoder { pixels }.pixels(decode(file, 1 << 20).unwrap());
            assert_eq!(([h, w], raw), ([1, 2], want));
        }
        for broken in [&file[..12], b"", b"no picture", b"P6 60000 60000 255\n"] {
            assert!(matches!(decode(broken, 1 << 20), Err(OpError::Invalid(_))), "{broken:?}");
        }
        assert!(matches!(decode(b"\xff\x4f\xff\x51", 1 << 20), Err(OpError::Unsupported(_))));
    }
}
