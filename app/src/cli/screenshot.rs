//! `stratoscope screenshot`: a picture of the window or of one view, with no display.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::ValueEnum;
use graph::Model;
use profiler::Trace;
use serde_json::json;
use studies::{Inspection, Settings};

use super::measure::MeasureArgs;
use super::progress::Terminal;
use super::{Outcome, print_json};
use crate::app::{App, ThemeChoice, require_adapter};
use crate::picture::{self, Paint};
use crate::snapshot;
use crate::view::Profile;
use crate::worker::{Opened, extension, open};

/// Draw the window or a view into a PNG or SVG file, with no display
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  stratoscope screenshot run.scope window.png\n  \
    stratoscope screenshot model.onnx flame.png --view flame --size 1200x500 --theme light\n  \
    stratoscope screenshot run.scope layers.svg --view layers     sharp at any size; needs no GPU\n\n\
    A model is profiled first, with the same options as `stratoscope profile`.")]
pub struct Args {
    /// A trace, an .onnx file or sample:ID
    #[arg(value_name = "TRACE|MODEL")]
    from: PathBuf,
    /// The file to write
    #[arg(value_name = "OUT.png|OUT.svg")]
    to: PathBuf,
    /// What to draw: window, or a view such as flame, layers, graph, roofline, memory, accuracy, summary
    #[arg(long, value_name = "VIEW", default_value = "window")]
    view: String,
    /// Width and height in pixels [default: 1440x900]
    #[arg(long, value_name = "WxH", value_parser = parse_size, default_value = "1440x900", hide_default_value = true)]
    size: (u32, u32),
    /// Colours
    #[arg(long, value_name = "THEME", default_value = "dark")]
    theme: Colours,
    #[command(flatten)]
    measure: MeasureArgs,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colours {
    Dark,
    Light,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let ids: Vec<&str> = crate::views::all().iter().map(|v| v.id()).collect();
    if args.view != "window" && !ids.contains(&args.view.as_str()) {
        bail!("--view {}: there is window, {}", args.view, ids.join(", "));
    }
    let paint = match extension(&args.to).as_deref() {
        Some("svg") => Paint::Shapes,
        Some("png") => Paint::Pixels,
        _ => bail!("{}: can't tell the format from the name; end it in .png or .svg", args.to.display()),
    };
    if paint == Paint::Pixels {
        require_adapter()?;
    }
    let settings = args.measure.settings();
    let (trace, model) = subject(&args, &settings)?;
    let (width, height) = args.size;
    let bytes = if args.view == "window" {
        let theme = if args.theme == Colours::Dark { ThemeChoice::Dark } else { ThemeChoice::Light };
        draw_window(&args, theme, trace, model, settings, paint)?
    } else {
        let size = [width as f32, height as f32];
        let options = snapshot::Options { size, dark: args.theme == Colours::Dark, ..Default::default() };
        let (profile, inspection) = (Profile::new(trace), model.map(|m| m.1));
        match paint {
            Paint::Pixels => png(snapshot::render_view(&args.view, Some(&profile), inspection.as_ref(), options)?)?,
            Paint::Shapes => {
                let scene = snapshot::Scene::of(Some(&profile), inspection.as_ref());
                snapshot::view_svg(&args.view, &scene, options, "v")?.into_bytes()
            }
        }
    };
    profiler::export::write_file(&args.to, &bytes)?;
    if args.json {
        print_json(&json!({ "file": args.to, "view": args.view, "width": width, "height": height }))?;
    } else {
        eprintln!("Wrote {}", args.to.display());
    }
    Ok(Outcome::Fine)
}

type Subject = (Arc<Trace>, Option<(Arc<Model>, Inspection)>);

/// The trace to draw, and the model if there is one.
fn subject(args: &Args, settings: &Settings) -> anyhow::Result<Subject> {
    let model = match open(&args.from)? {
        Opened::Trace(trace) => return Ok((trace, None)),
        Opened::Model(model) => model,
    };
    let terminal = Terminal::start();
    let mut trace = studies::profile(&model, settings, &terminal.control)?.trace;
    if matches!(args.view.as_str(), "accuracy") {
        let schemes: Vec<_> = studies::Precision::ALL.into_iter().filter(|&p| p != studies::Precision::F32).collect();
        trace.accuracy = studies::accuracy(&model, settings, &schemes, &terminal.control)?.accuracy;
    }
    let inspection = studies::inspect(&model, settings);
    Ok((Arc::new(trace), Some((model, inspection))))
}

fn draw_window(
    args: &Args,
    theme: ThemeChoice,
    trace: Arc<Trace>,
    model: Option<(Arc<Model>, Inspection)>,
    settings: Settings,
    paint: Paint,
) -> anyhow::Result<Vec<u8>> {
    let make = |ctx: &egui::Context| App::still(ctx, theme, Some(trace), model, settings);
    let mut harness = picture::harness_for(paint, size(args), args.theme == Colours::Dark, make, |ui, app| {
        if let Ok(app) = app {
            app.logic(ui.ctx());
            app.ui(ui);
        }
    });
    let bytes = match paint {
        Paint::Pixels => picture::take(&mut harness).and_then(png),
        Paint::Shapes => Ok(picture::svg(&harness, "w").into_bytes()),
    };
    match harness.into_state() {
        Some(Err(e)) => Err(e),
        _ => bytes,
    }
}

fn png(image: image::RgbaImage) -> anyhow::Result<Vec<u8>> {
    let mut png = Vec::new();
    image.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png)?;
    Ok(png)
}

fn size(args: &Args) -> egui::Vec2 {
    egui::vec2(args.size.0 as f32, args.size.1 as f32)
}

fn parse_size(s: &str) -> anyhow::Result<(u32, u32)> {
    let (w, h) = s.split_once('x').context("write WIDTHxHEIGHT, for instance 1440x900")?;
    let side = |v: &str| v.parse().ok().filter(|v| (64..=8192).contains(v));
    match (side(w), side(h)) {
        (Some(w), Some(h)) => Ok((w, h)),
        _ => bail!("\"{s}\": each side must be from 64 to 8192 pixels"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(parse_size("1440x900").unwrap(), (1440, 900));
        for bad in ["1440", "0x9", "1440x", "x", "99999x900", "-1x5", "1e3x900"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
