//! The look: every colour, size and font of the window, in a dark and a light value.
//!
//! Colour means something or is absent. The contrast of each pair that is used for text, and the distance of the eight
//! op-class hues under the common colour-vision defects, are checked by the tests below.

use std::sync::Arc;

use egui::{
    Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin, Stroke, TextStyle, Visuals, vec2,
};
use profiler::{MemoryClass, OpClass, Severity};

/// The grid that every distance is a multiple of, in points.
pub const GRID: f32 = 4.0;
/// The margin inside panels.
pub const PAD: f32 = 8.0;
/// Height of the toolbar.
pub const TOOLBAR_HEIGHT: f32 = 40.0;
/// Height of the summary strip.
pub const STRIP_HEIGHT: f32 = 56.0;
/// Height of the status bar.
pub const STATUS_HEIGHT: f32 = 24.0;
/// Height of a table's or tree's row.
pub const ROW_HEIGHT: f32 = 24.0;
/// Height of a row in the flame graph.
pub const FLAME_ROW_HEIGHT: f32 = 20.0;
/// Corner radius of buttons, chips and cards.
pub const RADIUS: u8 = 4;

/// Seconds that things take to open or move.
const ANIMATION_TIME: f32 = 0.08;

const SANS_SIZE: f32 = 13.0;
const FIGURE_SIZE: f32 = 12.0;
const CAPTION_SIZE: f32 = 11.0;
const HEADLINE_SIZE: f32 = 20.0;

/// The tokens of one theme. Get the one in use with [`Theme::of`].
#[derive(Debug, PartialEq)]
pub struct Theme {
    /// True for the dark one.
    pub dark: bool,
    /// 0 the canvas behind everything, 1 panels, 2 heads and inputs, 3 hovered and pressed things.
    pub surface: [Color32; 4],
    /// Lines between parts; never wider than a pixel.
    pub hairline: Color32,
    /// What the eye should find first.
    pub text_strong: Color32,
    /// Running text and figures.
    pub text: Color32,
    /// Captions, units, spreads.
    pub text_weak: Color32,
    /// The one action, links, the pointer's crosshair.
    pub accent: Color32,
    /// Checked and fine.
    pub good: Color32,
    /// Usable with care.
    pub warn: Color32,
    /// Wrong.
    pub bad: Color32,
    /// Behind what is selected.
    pub selection: Color32,
    /// The keyboard's focus, and the outline of what is selected.
    pub focus: Color32,
    /// The hues of [`OpClass::ALL`], in its order.
    pub classes: [Color32; 8],
    /// The hues of [`MemoryClass::ALL`], in its order.
    pub memory: [Color32; 4],
    /// Sequential data (time, memory), from least to most.
    pub sequential: [Color32; 5],
    /// Differences, from much faster (blue) over none to much slower (red).
    pub diverging: [Color32; 5],
    /// Error, from none to much.
    pub error: [Color32; 4],
}

const fn rgb(hex: u32) -> Color32 {
    Color32::from_rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

static DARK: Theme = Theme {
    dark: true,
    surface: [rgb(0x0F1115), rgb(0x15181D), rgb(0x1C2026), rgb(0x272C34)],
    hairline: rgb(0x2A2F37),
    text_strong: rgb(0xF2F4F7),
    text: rgb(0xC9CED6),
    text_weak: rgb(0x8B93A0),
    accent: rgb(0x6EA8FE),
    good: rgb(0x5CC489),
    warn: rgb(0xE3B341),
    bad: rgb(0xF5888B),
    selection: rgb(0x22375A),
    focus: rgb(0x8AB9FF),
    classes: [
        rgb(0x5A9BE0),
        rgb(0xE8A33D),
        rgb(0xE06B4A),
        rgb(0x2FBF97),
        rgb(0xA9DAF5),
        rgb(0xE6DC72),
        rgb(0xD98CCB),
        rgb(0x747B88),
    ],
    memory: [rgb(0x747B88), rgb(0x9B92F0), rgb(0xD9A45E), rgb(0x5FB9C6)],
    sequential: [rgb(0x23304A), rgb(0x2B5C8A), rgb(0x2F97A6), rgb(0x7CCB92), rgb(0xF3E88B)],
    diverging: [rgb(0x4F9DF0), rgb(0x37587F), rgb(0x3A4049), rgb(0x8A4A48), rgb(0xF0736B)],
    error: [rgb(0x3D4653), rgb(0x7E5A86), rgb(0xC76497), rgb(0xFF8C7A)],
};

static LIGHT: Theme = Theme {
    dark: false,
    surface: [rgb(0xF4F5F7), rgb(0xFFFFFF), rgb(0xF3F4F6), rgb(0xE6E9EE)],
    hairline: rgb(0xDFE2E7),
    text_strong: rgb(0x111418),
    text: rgb(0x2F3640),
    text_weak: rgb(0x667085),
    accent: rgb(0x1B5FC4),
    good: rgb(0x17734A),
    warn: rgb(0x855600),
    bad: rgb(0xB92B34),
    selection: rgb(0xD6E6FF),
    focus: rgb(0x1B5FC4),
    classes: [
        rgb(0x1F6FBF),
        rgb(0xD9820A),
        rgb(0xC94A1C),
        rgb(0x0C8F6C),
        rgb(0x6DB6E6),
        rgb(0xCDBB2B),
        rgb(0xA4468C),
        rgb(0x9099A6),
    ],
    memory: [rgb(0x9099A6), rgb(0x6A5ACD), rgb(0xC98A2E), rgb(0x3FA3B5)],
    sequential: [rgb(0xE3ECF5), rgb(0x9CCBD9), rgb(0x4A9DB5), rgb(0x27658F), rgb(0x1C2F5C)],
    diverging: [rgb(0x1F6FBF), rgb(0x9DBFE3), rgb(0xDDE0E5), rgb(0xE9A9A2), rgb(0xC2323A)],
    error: [rgb(0xC6CBD3), rgb(0xB58CB8), rgb(0xB04C86), rgb(0x9C2450)],
};

impl Theme {
    /// The dark tokens.
    pub fn dark() -> &'static Theme {
        &DARK
    }

    /// The light tokens.
    pub fn light() -> &'static Theme {
        &LIGHT
    }

    /// The tokens of the theme that `ctx` shows now.
    pub fn of(ctx: &egui::Context) -> &'static Theme {
        match ctx.theme() {
            egui::Theme::Dark => &DARK,
            egui::Theme::Light => &LIGHT,
        }
    }

    /// An op class's hue.
    pub fn class(&self, class: OpClass) -> Color32 {
        let i = OpClass::ALL.iter().position(|&c| c == class).unwrap_or(OpClass::ALL.len() - 1);
        self.classes[i]
    }

    /// A memory class's hue.
    pub fn memory_class(&self, class: MemoryClass) -> Color32 {
        let i = MemoryClass::ALL.iter().position(|&c| c == class).unwrap_or(0);
        self.memory[i]
    }

    /// Good, warning or bad.
    pub fn severity(&self, severity: Severity) -> Color32 {
        match severity {
            Severity::Ok => self.good,
            Severity::Warn => self.warn,
            Severity::Bad => self.bad,
        }
    }

    /// The more legible of near-black and near-white on a filled shape.
    pub fn ink_on(&self, fill: Color32) -> Color32 {
        let (black, white) = (rgb(0x0B0D10), rgb(0xFFFFFF));
        let (on_black, on_white) = (contrast(black, fill), contrast(white, fill));
        match on_black.max(on_white) {
            // Between the two, pure black is always enough.
            best if best < 4.5 => Color32::BLACK,
            _ if on_black >= on_white => black,
            _ => white,
        }
    }

    /// Error in decibels of signal to quantization noise as a colour: 60 dB and more is none, 0 dB and less is much.
    pub fn sqnr(&self, db: f64) -> Color32 {
        ramp(&self.error, 1.0 - (db / 60.0) as f32)
    }

    /// A hairline's stroke.
    pub fn line(&self) -> Stroke {
        Stroke::new(1.0, self.hairline)
    }

    fn visuals(&self) -> Visuals {
        let mut v = if self.dark { Visuals::dark() } else { Visuals::light() };
        let radius = CornerRadius::same(RADIUS);
        let widget = |fill: Color32, stroke: Color32, text: Color32| egui::style::WidgetVisuals {
            bg_fill: fill,
            weak_bg_fill: fill,
            bg_stroke: Stroke::new(1.0, stroke),
            corner_radius: radius,
            fg_stroke: Stroke::new(1.0, text),
            expansion: 0.0,
        };
        v.widgets.noninteractive = widget(self.surface[1], self.hairline, self.text);
        v.widgets.inactive = widget(self.surface[2], self.hairline, self.text);
        v.widgets.hovered = widget(self.surface[3], self.hairline, self.text_strong);
        v.widgets.active = widget(self.surface[3], self.focus, self.text_strong);
        v.widgets.open = widget(self.surface[3], self.hairline, self.text_strong);
        v.weak_text_color = Some(self.text_weak);
        v.selection.bg_fill = self.selection;
        v.selection.stroke = Stroke::new(1.0, self.text_strong);
        v.hyperlink_color = self.accent;
        v.faint_bg_color = self.surface[2];
        v.extreme_bg_color = self.surface[0];
        v.text_edit_bg_color = Some(self.surface[2]);
        v.code_bg_color = self.surface[2];
        v.warn_fg_color = self.warn;
        v.error_fg_color = self.bad;
        v.window_fill = self.surface[1];
        v.window_stroke = self.line();
        v.window_corner_radius = CornerRadius::same(RADIUS + 2);
        v.menu_corner_radius = CornerRadius::same(RADIUS + 2);
        v.panel_fill = self.surface[1];
        let shadow = egui::Shadow {
            offset: [0, 4],
            blur: 12,
            spread: 0,
            color: Color32::from_black_alpha(if self.dark { 96 } else { 32 }),
        };
        v.window_shadow = shadow;
        v.popup_shadow = shadow;
        v.indent_has_left_vline = false;
        v.striped = false;
        v
    }

    fn apply(&self, style: &mut egui::Style) {
        style.visuals = self.visuals();
        style.text_styles = [
            (TextStyle::Small, caption()),
            (TextStyle::Body, sans()),
            (TextStyle::Button, sans()),
            (TextStyle::Monospace, figure()),
            (TextStyle::Heading, headline()),
        ]
        .into();
        let s = &mut style.spacing;
        s.item_spacing = vec2(PAD, GRID);
        s.button_padding = vec2(PAD, 3.0);
        s.interact_size = vec2(24.0, 24.0);
        s.indent = 16.0;
        s.window_margin = Margin::same(8);
        s.menu_margin = Margin::same(8);
        s.tooltip_width = 420.0;
        s.scroll = egui::style::ScrollStyle::thin();
        style.animation_time = ANIMATION_TIME;
        style.interaction.tooltip_delay = 0.25;
        style.interaction.selectable_labels = false;
        style.explanation_tooltips = true;
    }
}

/// The family of heads and headlines.
const STRONG: &str = "strong";

/// Installs fonts and both themes' styles; call once per context.
pub fn install(ctx: &egui::Context) {
    ctx.set_fonts(fonts());
    ctx.style_mut_of(egui::Theme::Dark, |s| DARK.apply(s));
    ctx.style_mut_of(egui::Theme::Light, |s| LIGHT.apply(s));
}

/// Inter for words and JetBrains Mono for figures; each stands in for what the other lacks.
fn fonts() -> FontDefinitions {
    let mut fonts = FontDefinitions::empty();
    let faces: [(&str, &'static [u8]); 3] = [
        ("Inter", include_bytes!("../../assets/fonts/Inter-Regular.otf")),
        ("Inter SemiBold", include_bytes!("../../assets/fonts/Inter-SemiBold.otf")),
        ("JetBrains Mono", include_bytes!("../../assets/fonts/JetBrainsMono-Regular.ttf")),
    ];
    for (name, data) in faces {
        fonts.font_data.insert(name.to_owned(), Arc::new(FontData::from_static(data)));
    }
    for (family, faces) in [
        (FontFamily::Proportional, ["Inter", "JetBrains Mono"]),
        (FontFamily::Monospace, ["JetBrains Mono", "Inter"]),
        (FontFamily::Name(STRONG.into()), ["Inter SemiBold", "JetBrains Mono"]),
    ] {
        fonts.families.insert(family, faces.map(str::to_owned).to_vec());
    }
    fonts
}

/// Turns every animation off, for systems that ask for reduced motion and for pictures.
pub fn reduce_motion(ctx: &egui::Context) {
    set_motion(ctx, false);
}

/// Turns animations on or off.
pub fn set_motion(ctx: &egui::Context, on: bool) {
    ctx.all_styles_mut(|s| {
        s.animation_time = if on { ANIMATION_TIME } else { 0.0 };
        s.scroll_animation =
            if on { egui::style::ScrollAnimation::default() } else { egui::style::ScrollAnimation::none() };
    });
}

/// Running text.
pub fn sans() -> FontId {
    FontId::new(SANS_SIZE, FontFamily::Proportional)
}

/// Every figure: digits of one width.
pub fn figure() -> FontId {
    FontId::new(FIGURE_SIZE, FontFamily::Monospace)
}

/// Captions, heads of columns, axis labels.
pub fn caption() -> FontId {
    FontId::new(CAPTION_SIZE, FontFamily::Proportional)
}

/// Figures in captions and on axes.
pub fn caption_figure() -> FontId {
    FontId::new(CAPTION_SIZE, FontFamily::Monospace)
}

/// The summary's figures.
pub fn headline() -> FontId {
    FontId::new(HEADLINE_SIZE, FontFamily::Name(STRONG.into()))
}

/// Heads of parts, names of what is selected.
pub fn head() -> FontId {
    FontId::new(SANS_SIZE, FontFamily::Name(STRONG.into()))
}

/// A colour between the stops of a ramp, `t` from 0 to 1 (clamped; NaN counts as 0).
pub fn ramp(stops: &[Color32], t: f32) -> Color32 {
    let t = if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) } * (stops.len() - 1) as f32;
    let i = (t as usize).min(stops.len() - 2);
    mix(stops[i], stops[i + 1], t - i as f32)
}

/// Opaque `a` and `b` mixed, `t` = 1 is `b`.
pub fn mix(a: Color32, b: Color32, t: f32) -> Color32 {
    let lerp = |x: u8, y: u8| (f32::from(x) + (f32::from(y) - f32::from(x)) * t).round() as u8;
    Color32::from_rgb(lerp(a.r(), b.r()), lerp(a.g(), b.g()), lerp(a.b(), b.b()))
}

/// The contrast ratio of WCAG 2.1 between two opaque colours, 1 to 21.
pub fn contrast(a: Color32, b: Color32) -> f32 {
    let luminance = |c: Color32| {
        let [r, g, b] = linear(c);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn linear(c: Color32) -> [f32; 3] {
    [c.r(), c.g(), c.b()].map(|v| {
        let v = f32::from(v) / 255.0;
        if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn themes() -> [(&'static str, &'static Theme); 2] {
        [("dark", Theme::dark()), ("light", Theme::light())]
    }

    #[test]
    fn text_has_contrast_on_every_surface_and_on_the_selection() {
        let mut failures = Vec::new();
        for (name, t) in themes() {
            let backgrounds = t.surface.iter().chain([&t.selection]);
            for bg in backgrounds {
                for (token, fg, least) in [
                    ("text strong", t.text_strong, 4.5),
                    ("text", t.text, 4.5),
                    ("accent", t.accent, 4.5),
                    ("good", t.good, 4.5),
                    ("warn", t.warn, 4.5),
                    ("bad", t.bad, 4.5),
                    ("text weak", t.text_weak, 3.0),
                    ("focus", t.focus, 3.0),
                ] {
                    let c = contrast(fg, *bg);
                    if c.is_nan() || c < least {
                        failures.push(format!("{name}: {token} on {bg:?} has {c:.2}, needs {least}"));
                    }
                }
            }
            for fill in t.classes.iter().chain(&t.memory) {
                let c = contrast(t.ink_on(*fill), *fill);
                if c.is_nan() || c < 4.5 {
                    failures.push(format!("{name}: ink on {fill:?} has {c:.2}, needs 4.5"));
                }
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    /// Machado et al. 2009, "A Physiologically-based Model for Simulation of Color Vision Deficiency", severity 1.
    const DEFECTS: [(&str, [[f32; 3]; 3]); 4] = [
        ("none", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        ("protan", [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
        ("deutan", [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
        ("tritan", [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
    ];

    fn lab([r, g, b]: [f32; 3]) -> [f32; 3] {
        let f = |t: f32| if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
        let x = f((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047);
        let y = f(0.2126 * r + 0.7152 * g + 0.0722 * b);
        let z = f((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883);
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    fn seen(c: Color32, m: &[[f32; 3]; 3]) -> [f32; 3] {
        let l = linear(c);
        lab(m.map(|row| row.iter().zip(l).map(|(a, b)| a * b).sum::<f32>().clamp(0.0, 1.0)))
    }

    #[test]
    fn op_classes_stay_apart_under_colour_vision_defects() {
        let mut failures = Vec::new();
        for (name, t) in themes() {
            for (defect, m) in DEFECTS {
                for i in 0..t.classes.len() {
                    for j in 0..i {
                        let (a, b) = (seen(t.classes[i], &m), seen(t.classes[j], &m));
                        let d = a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f32>().sqrt();
                        if d.is_nan() || d < 10.0 {
                            let (i, j) = (OpClass::ALL[i].label(), OpClass::ALL[j].label());
                            failures.push(format!("{name}, {defect}: {i} and {j} are {d:.1} apart, need 10"));
                        }
                    }
                }
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    #[test]
    fn ramps_meet_their_stops_and_survive_nan() {
        let t = Theme::dark();
        assert_eq!(ramp(&t.sequential, 0.0), t.sequential[0]);
        assert_eq!(ramp(&t.sequential, 1.0), t.sequential[4]);
        assert_eq!(ramp(&t.sequential, 0.5), t.sequential[2]);
        assert_eq!(ramp(&t.sequential, f32::NAN), t.sequential[0]);
        assert_eq!(t.sqnr(f64::INFINITY), t.error[0]);
        assert_eq!(t.sqnr(-10.0), t.error[3]);
        assert!((contrast(Color32::BLACK, Color32::WHITE) - 21.0).abs() < 1e-3);
    }
}
