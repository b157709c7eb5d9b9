//! The program: the window with its panels, and the command line.

pub mod apart;
pub mod app;
pub mod ceilings;
pub mod cli;
pub mod comparison;
pub mod draw;
pub mod export;
pub mod format;
pub mod live;
pub mod log_book;
pub mod past;
pub mod picture;
pub mod report_page;
pub mod runs;
pub mod snapshot;
pub mod svg;
pub mod theme;
pub mod view;
pub mod views;
pub mod worker;
