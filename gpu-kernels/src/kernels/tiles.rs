//! The rectangles that a matrix product can be cut into, and which of them a device uses for which products.

use std::fmt;

/// How one workgroup's part of a product is shared out.
#[derive(Debug, PartialEq, Eq)]
pub struct Tile {
    /// The shader's entry point: how many blocks of 4 x 4 a thread makes.
    pub(crate) entry: &'static str,
    /// Threads across and down.
    pub(crate) threads: [u32; 2],
    /// Blocks of a thread across and down.
    blocks: [u32; 2],
    /// Quads of k in a step.
    pub(crate) quads: u32,
}

impl Tile {
    const fn new(entry: &'static str, threads: [u32; 2], blocks: [u32; 2], quads: u32) -> Tile {
        Tile { entry, threads, blocks, quads }
    }

    /// Columns of y.
    pub fn cols(&self) -> u32 {
        4 * self.threads[0] * self.blocks[0]
    }

    /// Rows of y.
    pub fn rows(&self) -> u32 {
        4 * self.threads[1] * self.blocks[1]
    }

    /// Vectors of the tiles of a and of b in shared memory.
    pub(crate) fn shared(&self, trans_b: bool) -> [u32; 2] {
        [self.rows() * self.quads, self.cols() * (self.quads + u32::from(trans_b))]
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}/{}", self.rows(), self.cols(), 4 * self.quads, self.threads[0] * self.threads[1])
    }
}

/// Every tile. All fit the base's 256 threads and 16 KiB of shared memory.
pub static TABLE: [Tile; 6] = [
    Tile::new("one", [8, 8], [1, 1], 4),
    Tile::new("one", [16, 16], [1, 1], 4),
    Tile::new("four", [8, 8], [2, 2], 4),
    Tile::new("two", [16, 8], [1, 2], 4),
    Tile::new("two", [16, 16], [1, 2], 4),
    Tile::new("four", [16, 16], [2, 2], 2),
];

/// Products that like the same tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// At most 32 rows or columns.
    Thin,
    /// Too few tiles of 64 x 64 to fill a GPU.
    Small,
    /// Up to a thousand of them.
    Medium,
    /// More.
    Large,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 4] = [Class::Thin, Class::Small, Class::Medium, Class::Large];

    /// The class of so many products with so many rows and columns.
    pub fn of(rows: u32, cols: u32, batches: u32) -> Class {
        let tiles = u64::from(rows.div_ceil(64)) * u64::from(cols.div_ceil(64)) * u64::from(batches);
        match tiles {
            _ if rows <= 32 || cols <= 32 => Class::Thin,
            0..96 => Class::Small,
            96..1024 => Class::Medium,
            _ => Class::Large,
        }
    }
}

/// Which tile each class uses: a line of [`TABLE`] for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiles([u8; 4]);

impl Default for Tiles {
    /// Large tiles read each operand less often, but a product that has few of them leaves most of a GPU idle, and one
    /// thinner than a tile wastes it.
    fn default() -> Tiles {
        Tiles([0, 0, 1, 5])
    }
}

impl Tiles {
    /// The tile of a class.
    pub fn of(&self, class: Class) -> &'static Tile {
        &TABLE[usize::from(self.0[class as usize])]
    }

    /// The same with another tile for a class; a line that the table lacks changes nothing.
    pub fn with(mut self, class: Class, line: usize) -> Tiles {
        if line < TABLE.len() {
            self.0[class as usize] = line as u8;
        }
        self
    }

    /// Reads what `to_string` wrote, if this table still has those tiles.
    pub fn parse(text: &str) -> Option<Tiles> {
        let mut words = text.split_whitespace();
        let tiles = Class::ALL.iter().try_fold(Tiles::default(), |tiles, class| {
            let name = words.next()?;
            Some(tiles.with(*class, TABLE.iter().position(|t| t.to_string() == name)?))
        })?;
        words.next().is_none().then_some(tiles)
    }
}

impl fmt::Display for Tiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = Class::ALL.iter().map(|c| self.of(*c).to_string()).collect();
        f.write_str(&names.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_fits_the_base_and_has_its_own_name() {
        for (i, tile) in TABLE.iter().enumerate() {
            for trans_b in [false, true] {
                let [a, b] = tile.shared(trans_b);
                assert!((a + b) * 16 <= 16 << 10, "{tile}");
            }
            assert!(tile.threads[0] * tile.threads[1] <= 256);
            assert_eq!(TABLE.iter().position(|t| t.to_string() == tile.to_string()), Some(i));
        }
    }

    #[test]
    fn a_choice_is_read_as_it_is_written() {
        let tiles = Tiles::default().with(Class::Small, 3).with(Class::Large, 2);
        assert_eq!(Tiles::parse(&tiles.to_string()), Some(tiles));
        assert_eq!(tiles.with(Class::Thin, 99), tiles);
        for bad in ["", "32x32x16/64", "32x32x16/64 32x32x16/64 32x32x16/64 7x7x7/7"] {
            assert_eq!(Tiles::parse(bad), None, "{bad}");
        }
        assert_eq!(Tiles::parse(&format!("{tiles} more")), None);
    }

    #[test]
    fn classes_follow_what_fills_a_gpu() {
        assert_eq!(Class::of(20, 4000, 1), Class::Thin);
        assert_eq!(Class::of(128, 384, 1), Class::Small);
        assert_eq!(Class::of(1024, 768, 1), Class::Medium);
        assert_eq!(Class::of(64, 64, 5000), Class::Large);
    }
}
