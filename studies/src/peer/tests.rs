use super::*;

#[test]
fn runs_take_what_they_took_from_outside() {
    let run = |start_ns, end_ns| Run { start_ns, end_ns, warmup: false };
    let mut trace = Trace { runs: vec![run(0, 100), run(150, 240), run(250, 300)], ..Trace::default() };
    place_runs(&mut trace, &[(120, true), (500, false), (10, false)]).unwrap();
    let times: Vec<_> = trace.runs.iter().map(|r| (r.start_ns, r.end_ns, r.warmup)).collect();
    assert_eq!(times, [(0, 120, true), (150, 250, false), (250, 300, false)]);
    assert!(place_runs(&mut trace, &[(1, false)]).unwrap_err().contains("3 of 1 runs"));
}

#[test]
fn settings_that_mean_nothing_to_the_engine_are_refused() {
    let settings = Settings { fusion: false, ..Settings::default() };
    assert_eq!(options(&settings).unwrap().get("level"), Some("disable"));
    for bad in [
        Settings { precision: Precision::Int8, ..Settings::default() },
        Settings { device: DeviceChoice::Gpu(None), ..Settings::default() },
    ] {
        assert!(options(&bad).is_err(), "{bad:?}");
    }
}
