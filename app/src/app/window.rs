//! Opening the system's window, and saying clearly why it can't be opened.

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use eframe::wgpu;

use super::{App, Store};

/// What to do instead, wherever there is nothing to draw on.
const HEADLESS: &str = "without a window, `stratoscope profile [MODEL]` measures and prints (see `stratoscope --help`)";

/// Opens the window with these files in it, or with those that were open when it was last closed unless it is to be
/// `fresh`, and returns when it is closed.
pub fn open_window(paths: Vec<PathBuf>, fresh: bool) -> anyhow::Result<()> {
    if let Some(missing) = missing_display(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty())) {
        bail!("there is no display to open a window on ({missing}); {HEADLESS}");
    }
    let store = Store::of_user();
    // The state is read twice: the window's size is wanted before the window is there.
    let kept = store.peek();
    let [width, height] = kept.window;
    let viewport = egui::ViewportBuilder::default()
        .with_title("Stratoscope")
        .with_app_id("stratoscope")
        .with_inner_size([width, height])
        .with_maximized(kept.maximized)
        .with_min_inner_size([760.0, 480.0])
        .with_icon(icon())
        .with_drag_and_drop(true);
    let options = eframe::NativeOptions { viewport, ..Default::default() };
    let start = Box::new(move |cc: &eframe::CreationContext<'_>| {
        let mut app = App::new(&cc.egui_ctx, store)?;
        if let Some(render) = &cc.wgpu_render_state {
            let info = render.adapter.get_info();
            app.adapter = format!("{} ({:?})", info.name, info.backend);
        }
        if paths.is_empty() && !fresh {
            app.restore_session();
        }
        for path in paths {
            app.open(path);
        }
        Ok(Box::new(app) as Box<dyn eframe::App>)
    });
    eframe::run_native("Stratoscope", options, start).map_err(|e| match e {
        eframe::Error::Wgpu(e) => anyhow!("no graphics adapter can draw the window ({e}); install a Vulkan driver (mesa-vulkan-drivers has one in software), or {HEADLESS}"),
        eframe::Error::AppCreation(e) => anyhow!("{e}"),
        e => anyhow!("the window can't be opened ({e}); {HEADLESS}"),
    })
}

/// What is missing for a window, if anything is: on Linux, a display server must be named.
fn missing_display(is_set: impl Fn(&str) -> bool) -> Option<&'static str> {
    let named = ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"].into_iter().any(is_set);
    (cfg!(all(unix, not(target_os = "macos"))) && !named).then_some("neither DISPLAY nor WAYLAND_DISPLAY is set")
}

/// Fails with a clear message if nothing can draw a picture.
pub fn require_adapter() -> anyhow::Result<()> {
    let backends = wgpu::Backends::PRIMARY;
    let descriptor = wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() };
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));
    if adapters.is_empty() {
        bail!(
            "no graphics adapter can draw a picture; install a Vulkan driver (mesa-vulkan-drivers has one in software)"
        );
    }
    Ok(())
}

/// Four bars of a flame graph.
fn icon() -> egui::IconData {
    const SIZE: u32 = 64;
    let bars: [(u32, u32, [u8; 3]); 4] = [
        (4, 60, [0x6E, 0xA8, 0xFE]),
        (4, 40, [0x2F, 0xBF, 0x97]),
        (12, 36, [0xE8, 0xA3, 0x3D]),
        (16, 26, [0xE0, 0x6B, 0x4A]),
    ];
    let mut rgba = vec![0; (SIZE * SIZE * 4) as usize];
    for (row, (from, to, [r, g, b])) in bars.into_iter().enumerate() {
        for y in 6 + row as u32 * 14..16 + row as u32 * 14 {
            for x in from..to {
                let at = ((y * SIZE + x) * 4) as usize;
                rgba[at..at + 4].copy_from_slice(&[r, g, b, 255]);
            }
        }
    }
    egui::IconData { rgba, width: SIZE, height: SIZE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_display_must_be_named() {
        assert!(missing_display(|_| false).is_some());
        assert!(missing_display(|n| n == "WAYLAND_DISPLAY").is_none());
        assert!(missing_display(|n| n == "DISPLAY").is_none());
    }
}
