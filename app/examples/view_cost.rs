//! What opening a trace costs, and what a frame of the flame graph costs while it is zoomed and panned: layout and
//! tessellation on the CPU, without a renderer. `cargo xtask bench views` runs it, a process for each trace.
//!
//! `view_cost make many|deep SPANS FILE` writes a trace; `view_cost measure FILE` prints one line of JSON.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use egui::{Event, Modifiers, MouseWheelUnit, Pos2, Rect, TouchPhase, Vec2, pos2, vec2};
use profiler::fixtures;
use serde_json::json;
use studies::Settings;

use stratoscope::runs::Runs;
use stratoscope::theme::{self, Theme};
use stratoscope::view::{Facts, Preferences, Profile, Selection, View, ViewCx};
use stratoscope::views;
use stratoscope::worker::{Opened, open};

/// The window, in points.
const SIZE: Vec2 = vec2(1280.0, 800.0);
/// Factor of a step of zoom.
const ZOOM: f32 = 1.4;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", kind, spans, file] => {
            let spans = spans.parse().context("SPANS is no number")?;
            let trace = match kind {
                "many" => fixtures::many_spans(spans),
                "deep" => fixtures::deep_spans(spans),
                _ => bail!("{kind}: either many or deep"),
            };
            profiler::export::write(&trace, Path::new(file))?;
        }
        ["measure", file] => println!("{}", measure(Path::new(file))?),
        _ => bail!("usage: view_cost make many|deep SPANS FILE | view_cost measure FILE"),
    }
    Ok(())
}

fn measure(file: &Path) -> anyhow::Result<serde_json::Value> {
    let (start, cpu) = (Instant::now(), cpu_ns());
    let Opened::Trace(trace) = open(file)? else { bail!("{}: not a trace", file.display()) };
    let (read, read_cpu) = (start.elapsed(), cpu_ns() - cpu);
    let profile = Profile::new(trace);
    let (opened, opened_cpu) = (start.elapsed(), cpu_ns() - cpu);
    let mut stage = Stage::new(profile);
    let frames = stage.tour()?;
    let figures = |f: &dyn Fn(&Frame) -> u64| spread(frames.iter().map(f).collect());
    Ok(json!({
        "file_bytes": std::fs::metadata(file)?.len(),
        "spans": stage.profile.trace.spans.len(),
        "rows": stage.profile.flame.tracks.iter().map(|t| t.rows.len()).sum::<usize>(),
        "open_ms": opened.as_secs_f64() * 1e3, "open_cpu_ms": opened_cpu as f64 / 1e6,
        "read_ms": read.as_secs_f64() * 1e3, "read_cpu_ms": read_cpu as f64 / 1e6,
        "peak_rss_bytes": peak_rss_bytes(),
        "frames": frames.len(),
        "frame_ns": figures(&|f| f.layout_ns + f.tessellation_ns),
        "layout_ns": figures(&|f| f.layout_ns),
        "tessellation_ns": figures(&|f| f.tessellation_ns),
        "vertices": figures(&|f| f.vertices),
        "width_points": SIZE.x,
        "slowest": frames.iter().max_by_key(|f| f.layout_ns + f.tessellation_ns).map(|f| f.what),
    }))
}

/// What a frame cost.
struct Frame {
    /// The part of the tour.
    what: &'static str,
    layout_ns: u64,
    tessellation_ns: u64,
    vertices: u64,
}

struct Stage {
    ctx: egui::Context,
    view: Box<dyn View>,
    profile: Profile,
    selection: Selection,
    time: f64,
}

impl Stage {
    fn new(profile: Profile) -> Stage {
        let ctx = egui::Context::default();
        theme::install(&ctx);
        theme::reduce_motion(&ctx);
        ctx.set_theme(egui::Theme::Dark);
        let view = views::all().into_iter().find(|v| v.id() == "flame");
        let view = view.unwrap_or_else(|| unreachable!("there is a flame graph"));
        Stage { ctx, view, profile, selection: Selection::default(), time: 0.0 }
    }

    fn frame(&mut self, what: &'static str, events: Vec<Event>) -> Frame {
        self.time += 1.0 / 60.0;
        let input = egui::RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, SIZE)),
            time: Some(self.time),
            focused: true,
            events,
            ..egui::RawInput::default()
        };
        let theme = Theme::dark();
        let (runs, facts, mut preferences) = (Runs::default(), Facts::default(), Preferences::default());
        let (mut settings, mut actions) = (Settings::default(), Vec::new());
        let Stage { ctx, view, profile, selection, .. } = self;
        let start = cpu_ns();
        let output = ctx.run_ui(input, |ui| {
            selection.begin_frame();
            let mut cx = ViewCx {
                profile: Some(profile),
                model: None,
                runs: &runs,
                facts: &facts,
                preferences: &mut preferences,
                settings: &mut settings,
                selection,
                theme,
                actions: &mut actions,
            };
            view.ui(ui, &mut cx);
        });
        let laid_out = cpu_ns();
        let meshes = ctx.tessellate(output.shapes, output.pixels_per_point);
        let done = cpu_ns();
        let vertices = meshes.iter().map(|m| match &m.primitive {
            egui::epaint::Primitive::Mesh(m) => m.vertices.len() as u64,
            egui::epaint::Primitive::Callback(_) => 0,
        });
        Frame { what, layout_ns: laid_out - start, tessellation_ns: done - laid_out, vertices: vertices.sum() }
    }

    /// A journey: from a run out to the whole trace, in to a few nanoseconds with a pan at every step, and out again
    /// elsewhere, with the pointer on the graph all the time.
    fn tour(&mut self) -> anyhow::Result<Vec<Frame>> {
        let at = |x: f32| pos2(SIZE.x * x, SIZE.y * 0.4);
        let zoom = |by: f32| vec![Event::Zoom(by)];
        let pan = |points: f32| {
            let modifiers = Modifiers::default();
            vec![Event::MouseWheel {
                source: egui::MouseWheelSource::Trackpad,
                unit: MouseWheelUnit::Point,
                delta: vec2(points, 0.0),
                phase: TouchPhase::Move,
                modifiers,
            }]
        };
        // Fonts, first layouts.
        for _ in 0..5 {
            self.frame("start", vec![Event::PointerMoved(at(0.37))]);
        }
        let mut frames = Vec::new();
        let whole = self.profile.flame.range.1 - self.profile.flame.range.0;
        let steps = (whole.max(20.0) / 20.0).log(f64::from(ZOOM)).ceil() as usize + 2;
        for _ in 0..steps {
            frames.push(self.frame("zoom out", zoom(1.0 / ZOOM)));
        }
        for _ in 0..20 {
            frames.push(self.frame("whole trace", vec![]));
        }
        for (x, side) in [(0.37, 1.0), (0.71, -1.0), (0.52, 1.0)] {
            self.frame("move", vec![Event::PointerMoved(at(x))]);
            for _ in 0..steps {
                frames.push(self.frame("zoom in", zoom(ZOOM)));
                for _ in 0..3 {
                    frames.push(self.frame("pan", pan(side * 45.0)));
                }
            }
            for _ in 0..steps {
                frames.push(self.frame("zoom out", zoom(1.0 / ZOOM)));
            }
        }
        // A tour that stands still would cost nothing.
        let drawn: std::collections::BTreeSet<u64> = frames.iter().map(|f| f.vertices).collect();
        if drawn.len() < frames.len() / 10 {
            bail!("the view did not move: {} different pictures in {} frames", drawn.len(), frames.len());
        }
        Ok(frames)
    }
}

fn spread(mut values: Vec<u64>) -> serde_json::Value {
    values.sort_unstable();
    let at = |p: f64| values.get(((values.len() - 1) as f64 * p).round() as usize).copied();
    json!({ "median": at(0.5), "p99": at(0.99), "max": at(1.0) })
}

/// Time that this thread has spent on a processor: other work on the machine does not count.
#[cfg(unix)]
fn cpu_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

#[cfg(not(unix))]
fn cpu_ns() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// The most memory that this process has held; unknown where the system does not tell.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
