//! One row per layer, for spreadsheets. Unknown figures are empty.

use std::io::{self, Write};

use crate::Trace;

const COLUMNS: [&str; 14] = [
    "name",
    "scope",
    "op",
    "device",
    "median_ns",
    "p90_ns",
    "p99_ns",
    "mad_ns",
    "share",
    "flops",
    "bytes_read",
    "bytes_written",
    "weight_bytes",
    "source_nodes",
];

pub(super) fn write(trace: &Trace, out: &mut dyn Write) -> io::Result<()> {
    let mut csv = ::csv::Writer::from_writer(out);
    csv.write_record(COLUMNS)?;
    let mut stats = trace.layer_stats().into_iter().peekable();
    for (i, layer) in trace.layers.iter().enumerate() {
        let stat = stats.next_if(|s| s.layer.index() == i);
        let time = |f: fn(&crate::Summary) -> f64| stat.map_or(String::new(), |s| f(&s.time).to_string());
        let known = |x: Option<u64>| x.map_or(String::new(), |x| x.to_string());
        csv.write_record([
            layer.name.clone(),
            layer.scope.clone(),
            layer.op.clone(),
            layer.device.clone(),
            time(|t| t.median),
            time(|t| t.p90),
            time(|t| t.p99),
            time(|t| t.mad),
            stat.map_or(String::new(), |s| s.share.to_string()),
            known(layer.flops),
            known(layer.bytes_read),
            known(layer.bytes_written),
            layer.weight_bytes.to_string(),
            layer.source_nodes.join(";"),
        ])?;
    }
    csv.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, Random};

    #[test]
    fn a_parser_reads_back_what_was_written() {
        let mut random = Random::fresh();
        for trace in [fixtures::random(&mut random), fixtures::transformer(2, 3, 1), fixtures::empty()] {
            let mut file = Vec::new();
            write(&trace, &mut file).unwrap();
            let mut reader = ::csv::Reader::from_reader(&file[..]);
            assert_eq!(reader.headers().unwrap(), &COLUMNS[..]);
            let rows: Vec<::csv::StringRecord> = reader.records().map(Result::unwrap).collect();
            assert_eq!(rows.len(), trace.layers.len());
            let stats = trace.layer_stats();
            for (i, (row, layer)) in rows.iter().zip(&trace.layers).enumerate() {
                assert_eq!((&row[0], &row[1], &row[2]), (&*layer.name, &*layer.scope, &*layer.op));
                match stats.iter().find(|s| s.layer.index() == i) {
                    Some(s) => {
                        assert_eq!(row[4].parse::<f64>(), Ok(s.time.median));
                        assert_eq!(row[6].parse::<f64>(), Ok(s.time.p99));
                        assert_eq!(row[8].parse::<f64>(), Ok(s.share));
                    }
                    None => assert!(row[4].is_empty() && row[8].is_empty()),
                }
                assert_eq!(row[9].parse().ok(), layer.flops);
                assert_eq!(&row[13], layer.source_nodes.join(";"));
            }
        }
    }
}
