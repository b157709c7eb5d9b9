//! Spans as a Parquet table, a row each, with what is known of their layer: for DuckDB, Polars and pandas. Row groups are
//! written as they are filled, so that a long trace is never in memory twice.

use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Int32Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::{Trace, export::quality_word};

const ROWS: usize = 1 << 18;

pub(super) fn write(trace: &Trace, out: &mut dyn Write) -> io::Result<()> {
    let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let schema = Arc::new(Schema::new(vec![
        Field::new("span", DataType::UInt32, false),
        Field::new("parent", DataType::UInt32, true),
        Field::new("track", text.clone(), false),
        Field::new("name", text.clone(), false),
        Field::new("layer", DataType::UInt32, true),
        Field::new("op", text.clone(), true),
        Field::new("class", text.clone(), true),
        Field::new("scope", text.clone(), true),
        Field::new("flops", DataType::UInt64, true),
        Field::new("bytes_read", DataType::UInt64, true),
        Field::new("bytes_written", DataType::UInt64, true),
        Field::new("run", DataType::UInt32, true),
        Field::new("warmup", DataType::Boolean, true),
        Field::new("start_ns", DataType::UInt64, false),
        Field::new("end_ns", DataType::UInt64, false),
        Field::new("duration_ns", DataType::UInt64, false),
        Field::new("clock", text, false),
    ]));
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(Default::default())).build();
    // ArrowWriter asks for a writer that may go to another thread.
    let mut buffered = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut buffered, schema.clone(), Some(properties)).map_err(io::Error::other)?;
    let texts = Texts::new(trace).map_err(io::Error::other)?;
    let n = trace.spans.len();
    for start in (0..n).step_by(ROWS) {
        let batch = texts.batch(trace, &schema, start..(start + ROWS).min(n)).map_err(io::Error::other)?;
        writer.write(&batch).map_err(io::Error::other)?;
        writer.flush().map_err(io::Error::other)?;
    }
    writer.close().map_err(io::Error::other)?;
    out.write_all(&buffered)
}

/// Every distinct text once; rows hold indices into these.
struct Texts {
    tracks: ArrayRef,
    /// The layers' names, then the spans' own.
    names: ArrayRef,
    ops: ArrayRef,
    classes: ArrayRef,
    scopes: ArrayRef,
    clocks: ArrayRef,
}

const CLOCKS: [crate::Quality; 4] =
    [crate::Quality::Cpu, crate::Quality::GpuTimestamp, crate::Quality::Wall, crate::Quality::Rejected];

fn strings<'a>(texts: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(texts))
}

impl Texts {
    fn new(trace: &Trace) -> Result<Texts, ArrowError> {
        let layers = || trace.layers.iter();
        let own = trace.spans.names.iter().map(String::as_str);
        Ok(Texts {
            tracks: strings(trace.tracks.iter().map(|t| t.name.as_str())),
            names: strings(layers().map(|l| l.name.as_str()).chain(own).chain(["?"])),
            ops: strings(layers().map(|l| l.op.as_str())),
            classes: strings(layers().map(|l| l.class.label())),
            scopes: strings(layers().map(|l| l.scope.as_str())),
            clocks: strings(CLOCKS.iter().map(|q| quality_word(*q))),
        })
    }

    fn batch(
        &self,
        trace: &Trace,
        schema: &Arc<Schema>,
        rows: std::ops::Range<usize>,
    ) -> Result<RecordBatch, ArrowError> {
        let s = &trace.spans;
        let layers = trace.layers.len();
        let unknown = layers + s.names.len();
        let layer = |i: usize| s.layer[i].map(|l| l.index()).filter(|&l| l < layers);
        let run = |i: usize| s.run[i].filter(|r| r.index() < trace.runs.len());
        let text = |values: &ArrayRef, keys: Int32Array| -> Result<ArrayRef, ArrowError> {
            Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values.clone())?))
        };
        let keys = |f: &dyn Fn(usize) -> Option<usize>| -> Int32Array {
            rows.clone().map(|i| f(i).and_then(|k| i32::try_from(k).ok())).collect()
        };
        let numbers =
            |f: &dyn Fn(usize) -> Option<u64>| -> ArrayRef { Arc::new(rows.clone().map(f).collect::<UInt64Array>()) };
        let ids =
            |f: &dyn Fn(usize) -> Option<u32>| -> ArrayRef { Arc::new(rows.clone().map(f).collect::<UInt32Array>()) };
        let of_layer =
            |f: &'static dyn Fn(&crate::Layer) -> Option<u64>| numbers(&move |i| f(&trace.layers[layer(i)?]));
        let name = |i: usize| {
            let own = layers + s.name[i] as usize;
            Some(layer(i).unwrap_or(if own < unknown { own } else { unknown }))
        };
        let clock = |i: usize| CLOCKS.iter().position(|q| *q == s.quality[i]);
        let warmup: BooleanArray = rows.clone().map(|i| run(i).map(|r| trace.runs[r.index()].warmup)).collect();
        RecordBatch::try_new(
            schema.clone(),
            vec![
                ids(&|i| u32::try_from(i).ok()),
                ids(&|i| s.parent[i].map(|p| p.0)),
                text(&self.tracks, keys(&|i| Some(s.track[i].index())))?,
                text(&self.names, keys(&name))?,
                ids(&|i| layer(i).and_then(|l| u32::try_from(l).ok())),
                text(&self.ops, keys(&layer))?,
                text(&self.classes, keys(&layer))?,
                text(&self.scopes, keys(&layer))?,
                of_layer(&|l| l.flops),
                of_layer(&|l| l.bytes_read),
                of_layer(&|l| l.bytes_written),
                ids(&|i| run(i).map(|r| r.0)),
                Arc::new(warmup),
                numbers(&|i| Some(s.start_ns[i])),
                numbers(&|i| Some(s.end_ns[i])),
                numbers(&|i| Some(s.end_ns[i] - s.start_ns[i])),
                text(&self.clocks, keys(&clock))?,
            ],
        )
    }
}
