#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "coeus/comm/launcher/launcher.h"
#include "commands.h"

namespace coeus {

namespace {

/// The path of this program.
std::string own_path() {
  std::array<char, 4096> path;
  const ssize_t n = ::readlink("/proc/self/exe", path.data(), path.size());
  COEUS_CHECK(n > 0 && n < static_cast<ssize_t>(path.size()),
              "[coeus launch] cannot find this program's own file: {}", std::strerror(errno));
  return {path.data(), static_cast<size_t>(n)};
}

}  // namespace

void add_launch_command(CLI::App& program, Command& chosen) {
  CLI::App* command = program.add_subcommand("launch", "Run a command as several ranks");
  const auto options = std::make_shared<LaunchOptions>();
  const auto shown = std::make_shared<std::string>("0");
  command->add_option("-n,--nproc-per-node", options->ranks, "Ranks to start on this machine")
      ->required();
  command->add_option("--nnodes", options->nodes,
                      "Machines of the job; run coeus launch on each, with the same -n");
  command->add_option("--node-rank", options->node_rank, "The number of this machine, from 0");
  command->add_option("--master-addr", options->master_addr,
                      "A name or address of machine 0 that all others reach");
  command->add_option("--master-port", options->master_port,
                      "A free port there; by itself on one machine, 29500 on several");
  command->add_option("--log-rank", *shown,
                      "Ranks to print the output of: \"0\", \"0,3\" or \"all\"; of the others only "
                      "errors are printed");
  command->add_option("--log-dir", options->log_folder,
                      "A folder to append each rank's output to, as rank0.log, rank1.log, …");
  command->prefix_command();
  command->footer(
      "train CONFIG.toml [--section.key=value …]\n"
      "Sets OMP_NUM_THREADS to the machine's cores divided by -n, unless it is set.\n"
      "Examples:\n"
      "  coeus launch -n 4 train configs/llama3/debug_model.toml\n"
      "  coeus launch -n 8 --nnodes 2 --node-rank 1 --master-addr node0 -- train my.toml");
  command->callback([command, options, shown, &chosen] {
    options->shown = parse_shown_ranks(*shown);
    options->command = command->remaining();
    chosen = [options] {
      COEUS_CHECK_CONFIG(!options->command.empty() && options->command.front() == "train",
                         "[coeus launch] ranks can run `train` only: coeus launch -n {} train "
                         "CONFIG.toml",
                         options->ranks);
      options->command.insert(options->command.begin(), own_path());
      return static_cast<ExitCode>(launch(*options));
    };
  });
}

}  // namespace coeus
