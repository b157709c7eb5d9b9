//! What egui painted, as SVG: sharp at any size, with text that can be searched and selected.

use std::fmt::Write;

use egui::epaint::{
    ClippedShape, ColorMode, CubicBezierShape, Mesh, PathShape, PathStroke, QuadraticBezierShape, RectShape,
    TessellationOptions, Tessellator, TextShape,
};
use egui::{Color32, CornerRadius, FontFamily, FontId, Pos2, Rect, Shape, Stroke, StrokeKind, TextureId};

/// Draws shapes into an SVG element that shows `frame`. `name` tells the ids of several pictures in one page apart.
pub fn svg(shapes: &[ClippedShape], frame: Rect, background: Color32, name: &str) -> String {
    let mut out = Svg { text: String::new(), clips: Vec::new(), frame };
    for run in shapes.chunk_by(|a, b| a.clip_rect == b.clip_rect) {
        let clip = run[0].clip_rect.intersect(frame);
        if !clip.is_positive() {
            continue;
        }
        let whole = clip == frame;
        if !whole {
            let id = out.clip(clip);
            _ = write!(out.text, "<g clip-path=\"url(#{name}-{id})\">");
        }
        run.iter().for_each(|s| out.shape(&s.shape));
        if !whole {
            out.text.push_str("</g>\n");
        }
    }
    let (w, h) = (N(frame.width()), N(frame.height()));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"{} {} {w} {h}\" width=\"{w}\" height=\"{h}\" \
         font-family=\"{SANS}\">\n<defs>",
        N(frame.left()),
        N(frame.top())
    );
    for (id, clip) in out.clips.iter().enumerate() {
        _ = write!(svg, "<clipPath id=\"{name}-{id}\"><rect {}/></clipPath>", Area(*clip));
    }
    _ = writeln!(svg, "</defs>\n<rect {} {}/>", Area(frame), Fill(background));
    svg + &out.text + "</svg>\n"
}

const SANS: &str = "Inter, system-ui, sans-serif";
const MONO: &str = "'JetBrains Mono', ui-monospace, monospace";

struct Svg {
    text: String,
    clips: Vec<Rect>,
    frame: Rect,
}

impl Svg {
    fn clip(&mut self, rect: Rect) -> usize {
        match self.clips.iter().position(|c| *c == rect) {
            Some(i) => i,
            None => {
                self.clips.push(rect);
                self.clips.len() - 1
            }
        }
    }

    fn shape(&mut self, shape: &Shape) {
        let bounds = shape.visual_bounding_rect();
        if !matches!(shape, Shape::Vec(_)) && !bounds.intersects(self.frame) {
            return;
        }
        match shape {
            Shape::Noop | Shape::Callback(_) => {}
            Shape::Vec(all) => all.iter().for_each(|s| self.shape(s)),
            Shape::Circle(c) => {
                let at = format!("cx=\"{}\" cy=\"{}\" r=\"{}\"", N(c.center.x), N(c.center.y), N(c.radius));
                _ = writeln!(self.text, "<circle {at} {} {}/>", Fill(c.fill), Line(c.stroke));
            }
            Shape::LineSegment { points: [a, b], stroke } => {
                let ends = format!("x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"", N(a.x), N(a.y), N(b.x), N(b.y));
                _ = writeln!(self.text, "<line {ends} {}/>", Line(*stroke));
            }
            Shape::Path(p) => self.path(p),
            Shape::Rect(r) => self.rect(r),
            Shape::Text(t) => self.words(t),
            Shape::Mesh(m) => self.mesh(m),
            Shape::QuadraticBezier(QuadraticBezierShape { points: [a, b, c], closed, fill, stroke }) => {
                let d = format!("M{} Q{} {}{}", At(*a), At(*b), At(*c), if *closed { "Z" } else { "" });
                self.curve(&d, *fill, stroke);
            }
            Shape::CubicBezier(CubicBezierShape { points: [a, b, c, d], closed, fill, stroke }) => {
                let d = format!("M{} C{} {} {}{}", At(*a), At(*b), At(*c), At(*d), if *closed { "Z" } else { "" });
                self.curve(&d, *fill, stroke);
            }
            // Rare ones as the triangles that egui makes of them.
            Shape::Ellipse(_) | Shape::Band(_) => {
                let mut mesh = Mesh::default();
                let options = TessellationOptions { feathering: false, ..TessellationOptions::default() };
                Tessellator::new(1.0, options, [1, 1], Vec::new()).tessellate_shape(shape.clone(), &mut mesh);
                self.mesh(&mesh);
            }
        }
    }

    fn curve(&mut self, d: &str, fill: Color32, stroke: &PathStroke) {
        _ = writeln!(self.text, "<path d=\"{d}\" {} {}/>", Fill(fill), Line(plain(stroke)));
    }

    fn path(&mut self, p: &PathShape) {
        let points: Vec<String> = p.points.iter().map(|p| At(*p).to_string()).collect();
        let element = if p.closed { "polygon" } else { "polyline" };
        _ = writeln!(
            self.text,
            "<{element} points=\"{}\" {} {}/>",
            points.join(" "),
            Fill(if p.closed { p.fill } else { Color32::TRANSPARENT }),
            Line(plain(&p.stroke))
        );
    }

    fn rect(&mut self, r: &RectShape) {
        // SVG strokes lie on the edge; egui's inside or outside of it.
        let half = r.stroke.width / 2.0;
        let rect = match r.stroke_kind {
            _ if r.stroke.is_empty() => r.rect,
            StrokeKind::Inside => r.rect.shrink(half),
            StrokeKind::Middle => r.rect,
            StrokeKind::Outside => r.rect.expand(half),
        };
        let CornerRadius { nw, ne, sw, se } = r.corner_radius;
        let radius = f32::from(nw.max(ne).max(sw).max(se)).min(rect.width().min(rect.height()) / 2.0);
        let round = if radius > 0.0 { format!(" rx=\"{}\"", N(radius)) } else { String::new() };
        let blur = if r.blur_width > 0.0 {
            format!(" style=\"filter:blur({}px)\"", N(r.blur_width / 4.0))
        } else {
            String::new()
        };
        let turn = if r.angle == 0.0 {
            String::new()
        } else {
            let c = r.rect.center();
            format!(" transform=\"rotate({} {} {})\"", N(r.angle.to_degrees()), N(c.x), N(c.y))
        };
        if rect.width() >= 0.0 && rect.height() >= 0.0 {
            _ = writeln!(self.text, "<rect {}{round}{blur}{turn} {} {}/>", Area(rect), Fill(r.fill), Line(r.stroke));
        }
    }

    /// Triangles of one colour each; pictures (textures) have no place in a drawing of lines and are left out.
    fn mesh(&mut self, m: &Mesh) {
        if m.texture_id != TextureId::default() {
            return;
        }
        let mut rest = m.indices.as_slice();
        while let Some((t, after)) = rest.split_at_checked(3) {
            // Two triangles of one colour that share an edge are drawn as one: else the edge would show.
            if let [a, b, c, d, e, f, ..] = *rest
                && (c, b) == (d, e)
                && let [Some(a), Some(b), Some(c), Some(f)] = [a, b, c, f].map(|i| m.vertices.get(i as usize))
                && [b, c, f].iter().all(|v| v.color == a.color)
            {
                let points = format!("{} {} {} {}", At(a.pos), At(b.pos), At(f.pos), At(c.pos));
                _ = writeln!(self.text, "<polygon points=\"{points}\" {}/>", Fill(a.color));
                rest = &rest[6..];
                continue;
            }
            rest = after;
            let v = [t[0], t[1], t[2]].map(|i| m.vertices.get(i as usize));
            let [Some(a), Some(b), Some(c)] = v else { continue };
            let mean = |f: fn(Color32) -> u8| {
                let sum = u16::from(f(a.color)) + u16::from(f(b.color)) + u16::from(f(c.color));
                (sum / 3) as u8
            };
            let color =
                Color32::from_rgba_premultiplied(mean(|c| c.r()), mean(|c| c.g()), mean(|c| c.b()), mean(|c| c.a()));
            _ = writeln!(self.text, "<polygon points=\"{} {} {}\" {}/>", At(a.pos), At(b.pos), At(c.pos), Fill(color));
        }
    }

    /// Text in stretches of one font and colour, each as wide as egui laid it out, whatever face the reader has.
    fn words(&mut self, t: &TextShape) {
        let job = &t.galley.job;
        let mut sections: Vec<usize> = Vec::with_capacity(job.text.len());
        for (at, _) in job.text.char_indices() {
            let section = job.sections.iter().position(|s| s.byte_range.start.0 <= at && at < s.byte_range.end.0);
            sections.push(section.unwrap_or(job.sections.len().saturating_sub(1)));
        }
        let last = job.sections.len().saturating_sub(1);
        let turned = t.angle != 0.0;
        if turned {
            _ = write!(
                self.text,
                "<g transform=\"rotate({} {} {})\">",
                N(t.angle.to_degrees()),
                N(t.pos.x),
                N(t.pos.y)
            );
        }
        let mut at = 0;
        for placed in &t.galley.rows {
            let origin = t.pos + placed.pos.to_vec2();
            let mut stretch: Option<Stretch> = None;
            for glyph in &placed.row.glyphs {
                let section = sections.get(at).copied().unwrap_or(last);
                at += 1;
                let format = job.sections.get(section).map(|s| &s.format);
                let painted = placed.row.visuals.mesh.vertices.get(glyph.first_vertex as usize).map(|v| v.color);
                let own = format.map_or(Color32::PLACEHOLDER, |f| f.color);
                let color = match t.override_text_color {
                    Some(c) => c,
                    None if own == Color32::PLACEHOLDER => {
                        painted.filter(|c| *c != Color32::PLACEHOLDER).unwrap_or(t.fallback_color)
                    }
                    None => own,
                };
                let color = color.gamma_multiply(t.opacity_factor);
                let font = format.map_or_else(FontId::default, |f| f.font_id.clone());
                if stretch.as_ref().is_none_or(|s| s.section != section || s.color != color) {
                    self.finish(stretch.take());
                    stretch = Some(Stretch {
                        section,
                        color,
                        font,
                        start: origin + glyph.pos.to_vec2(),
                        end: 0.0,
                        text: String::new(),
                    });
                }
                if let Some(s) = &mut stretch {
                    s.text.push(glyph.chr);
                    s.end = origin.x + glyph.pos.x + glyph.advance_width;
                }
            }
            self.finish(stretch);
            at += usize::from(placed.ends_with_newline);
        }
        if turned {
            self.text.push_str("</g>");
        }
    }

    fn finish(&mut self, stretch: Option<Stretch>) {
        let Some(s) = stretch.filter(|s| !s.text.trim().is_empty()) else { return };
        let family = match &s.font.family {
            FontFamily::Proportional => String::new(),
            FontFamily::Monospace => format!(" font-family=\"{MONO}\""),
            FontFamily::Name(_) => " font-weight=\"600\"".to_owned(),
        };
        _ = writeln!(
            self.text,
            "<text x=\"{}\" y=\"{}\" font-size=\"{}\"{family} textLength=\"{}\" lengthAdjust=\"spacingAndGlyphs\" \
             xml:space=\"preserve\" {}>{}</text>",
            N(s.start.x),
            N(s.start.y),
            N(s.font.size),
            N((s.end - s.start.x).max(0.0)),
            Fill(s.color),
            escape(&s.text)
        );
    }
}

/// Characters of one font and colour on one line.
struct Stretch {
    section: usize,
    color: Color32,
    font: FontId,
    start: Pos2,
    end: f32,
    text: String,
}

fn plain(stroke: &PathStroke) -> Stroke {
    match stroke.color {
        ColorMode::Solid(color) => Stroke::new(stroke.width, color),
        ColorMode::UV(_) => Stroke::NONE,
    }
}

/// Text as it stands in XML; what XML can't hold is replaced.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(c),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A length with at most two decimals.
struct N(f32);

impl std::fmt::Display for N {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let v = if self.0.is_finite() { (f64::from(self.0) * 100.0).round() / 100.0 } else { 0.0 };
        write!(f, "{v}")
    }
}

struct At(Pos2);

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{},{}", N(self.0.x), N(self.0.y))
    }
}

struct Area(Rect);

impl std::fmt::Display for Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let r = self.0;
        write!(f, "x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"", N(r.left()), N(r.top()), N(r.width()), N(r.height()))
    }
}

/// A colour as an attribute: `fill="#rrggbb"`, with its opacity.
fn paint(f: &mut std::fmt::Formatter<'_>, what: &str, color: Color32) -> std::fmt::Result {
    let [r, g, b, a] = color.to_srgba_unmultiplied();
    match a {
        0 => write!(f, "{what}=\"none\""),
        255 => write!(f, "{what}=\"#{r:02x}{g:02x}{b:02x}\""),
        a => write!(f, "{what}=\"#{r:02x}{g:02x}{b:02x}\" {what}-opacity=\"{}\"", N(f32::from(a) / 255.0)),
    }
}

struct Fill(Color32);

impl std::fmt::Display for Fill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        paint(f, "fill", self.0)
    }
}

struct Line(Stroke);

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        paint(f, "stroke", self.0.color)?;
        write!(f, " stroke-width=\"{}\"", N(self.0.width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{self, Options, Scene};
    use crate::view::Profile;
    use std::sync::Arc;

    #[test]
    fn every_view_becomes_sound_xml_with_its_words() {
        let profile = Profile::new(Arc::new(profiler::fixtures::transformer(2, 5, 1)));
        for view in crate::views::all() {
            let scene = Scene { profile: Some(&profile), ..Scene::default() };
            let svg = snapshot::view_svg(view.id(), &scene, Options::default(), "v").unwrap();
            let mut depth = 0;
            let mut words = 0;
            for tag in svg.split('<').skip(1) {
                let (head, tail) = tag.split_once('>').unwrap_or_else(|| panic!("{}: <{tag}", view.id()));
                assert_eq!(head.matches('"').count() % 2, 0, "{}: <{head}>", view.id());
                assert!(!head.contains("NaN") && !head.contains("inf"), "{head}");
                depth += match (head.starts_with('/'), head.ends_with('/')) {
                    (true, _) => -1,
                    (_, true) => 0,
                    _ => 1,
                };
                words += tail.split_whitespace().count();
            }
            assert_eq!(depth, 0, "{}", view.id());
            assert!(words > 3, "{}: {words} words", view.id());
        }
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        assert_eq!(escape("a<b>&\"c\"\u{1}"), "a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}");
        assert_eq!(
            (N(1.0).to_string(), N(0.126).to_string(), N(f32::NAN).to_string()),
            ("1".into(), "0.13".into(), "0".into())
        );
    }
}
