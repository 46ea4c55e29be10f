//! The controlplane as one value: accounts, routes, scripts, callbacks, meter, ledger
