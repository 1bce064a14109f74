//! End-to-end tests: they run the built `cloze` in directories of their own, as a user would.

#[cfg(test)]
mod bad_dataset;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod determinism;
#[cfg(test)]
mod format;
#[cfg(test)]
mod google;
#[cfg(test)]
mod interop;
#[cfg(test)]
mod interruption;
#[cfg(test)]
mod prepare;
#[cfg(test)]
mod quickstart;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod train;
#[cfg(test)]
mod util;
