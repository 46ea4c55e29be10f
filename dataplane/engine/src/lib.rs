//! tandem-dataplane: config, plan, regions, threads, the breath loop
