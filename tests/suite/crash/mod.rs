//! A process or a machine that dies in the middle of its work, and what the next process finds.

mod audit;
mod kill;
mod points;
mod power_cut;
mod syscall_faults;
mod traced;
mod work;
