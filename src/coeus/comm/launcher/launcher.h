// `coeus launch`: starts the ranks of one machine and looks after them.
#pragma once

#include "coeus/comm/launcher/launch_options.h"

namespace coeus {

/// Runs a job's ranks on this machine until the last has ended and returns what the process should
/// return. One thread waits for their lines, their ends and for signals:
/// - SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 go to all ranks; the third SIGINT or
///   SIGTERM kills them. SIGTSTP stops them too.
/// - Once a rank fails, the others have `notice` to end by themselves, then as long after SIGTERM,
///   then SIGKILL ends them. Which failed first, and why, is logged.
/// - Whatever a rank has started and left behind is killed when the rank ends.
/// On one machine, and on the first of several, the launcher opens the port of the job's store and
/// hands the listening socket to rank 0: nobody can take it in between.
/// Throws ConfigError for options that cannot be, or a port that is taken, before anything starts.
int launch(const LaunchOptions& options);

}  // namespace coeus
