# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_tokensink_global_optspecs
    string join \n config= h/help V/version
end

function __fish_tokensink_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_tokensink_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_tokensink_using_subcommand
    set -l cmd (__fish_tokensink_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c tokensink -n "__fish_tokensink_needs_command" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_needs_command" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_needs_command" -s V -l version -d 'Print version'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "daemon" -d 'Watch, sync and restart, in the foreground; what the unit runs'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "sync" -d 'Make one pass'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "status" -d 'Show the state of logins, sinks, gateways, and what is wrong'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "refresh" -d 'Refresh a login now, through the same path as the daemon'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "history" -d 'Show what happened to each login, from our own record'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "export" -d 'Seal logins for another host, on standard output, and let go of them here'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "import" -d 'Take over the logins of a bundle on standard input'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "doctor" -d 'Check everything that is known to go wrong; changes nothing'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "login" -d 'Log in: a first login, or a new one over the old'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "reauth" -d 'Log in again where that is needed, and see that everybody follows'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "order" -d 'Show or set in which order OpenClaw tries the profiles of a provider'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "setup" -d 'Detect what is there, show what is to be done, and do it'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "undo" -d 'Take back the files and entries that passes made; never puts a token back'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "alert" -d 'Try the alert channels, or show who was told of what'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "config" -d 'Validate or print the configuration'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "completions" -d 'Print a completion script'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "selftest" -d 'Run the whole chain on this host, in a temporary home with stand-ins'
complete -c tokensink -n "__fish_tokensink_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tokensink -n "__fish_tokensink_using_subcommand daemon" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand daemon" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand sync" -l accept -d 'Accept what the source of LOGIN holds now, another account or an older generation' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand sync" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand sync" -l dry-run -d 'Print the plan and touch nothing'
complete -c tokensink -n "__fish_tokensink_using_subcommand sync" -l json -d 'Print JSON'
complete -c tokensink -n "__fish_tokensink_using_subcommand sync" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand status" -l check -d 'Exit 0 ok, 1 expired or missing, 2 expiring' -r -f -a "login\t'The login as a whole'
access\t'The access token alone'"
complete -c tokensink -n "__fish_tokensink_using_subcommand status" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand status" -l full -d 'Everything, for people (the default)'
complete -c tokensink -n "__fish_tokensink_using_subcommand status" -l simple -d 'One word'
complete -c tokensink -n "__fish_tokensink_using_subcommand status" -l json -d 'JSON, format version 1'
complete -c tokensink -n "__fish_tokensink_using_subcommand status" -l prometheus -d 'Metrics in Prometheus\' text format'
complete -c tokensink -n "__fish_tokensink_using_subcommand status" -l watch -d 'Keep showing it'
complete -c tokensink -n "__fish_tokensink_using_subcommand status" -l probe -d 'Ask OpenClaw\'s own health check as well'
complete -c tokensink -n "__fish_tokensink_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tokensink -n "__fish_tokensink_using_subcommand refresh" -l via -d 'Override the configured mode' -r -f -a "cli\t'The provider\'s own CLI'
direct\t'A request of our own'"
complete -c tokensink -n "__fish_tokensink_using_subcommand refresh" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand refresh" -l force -d 'Refresh although it is not due, or although the last token may have been spent'
complete -c tokensink -n "__fish_tokensink_using_subcommand refresh" -l json -d 'Print JSON'
complete -c tokensink -n "__fish_tokensink_using_subcommand refresh" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tokensink -n "__fish_tokensink_using_subcommand history" -l since -d 'Only from TIME on: 2h, 3d, today, yesterday, 2026-11-20, or a time as in RFC 3339' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand history" -l svg -d 'Draw a timeline into FILE; - is standard output' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand history" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand history" -l json -d 'Print JSON, format version 1'
complete -c tokensink -n "__fish_tokensink_using_subcommand history" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand export" -l to -d 'The new host: what `import --key` prints there' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand export" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand export" -l yes -d 'Do not ask'
complete -c tokensink -n "__fish_tokensink_using_subcommand export" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand import" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand import" -l key -d 'Print the recipient for which the old host has to seal them'
complete -c tokensink -n "__fish_tokensink_using_subcommand import" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand doctor" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand doctor" -l json -d 'Print JSON'
complete -c tokensink -n "__fish_tokensink_using_subcommand doctor" -l network -d 'Ask each token endpoint for an answer as well, and for its time; no login is used'
complete -c tokensink -n "__fish_tokensink_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand login" -l id -d 'The id of the login; default: the only one of that provider, else the provider\'s name' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand login" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand login" -l setup-token -d 'Take a setup-token from standard input'
complete -c tokensink -n "__fish_tokensink_using_subcommand login" -l device -d 'By a code that is typed on another device'
complete -c tokensink -n "__fish_tokensink_using_subcommand login" -l no-browser -d 'Print the URL and open no browser'
complete -c tokensink -n "__fish_tokensink_using_subcommand login" -l replace-account -d 'Store it also over the login of another account'
complete -c tokensink -n "__fish_tokensink_using_subcommand login" -l openclaw -d 'Hand over to OpenClaw, for a provider of its own'
complete -c tokensink -n "__fish_tokensink_using_subcommand login" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand reauth" -l code -d 'Read the code from standard input, for the attempt that waits for it' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand reauth" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand reauth" -l no-browser -d 'Open no browser'
complete -c tokensink -n "__fish_tokensink_using_subcommand reauth" -l paste -d 'By a URL and what is pasted, also where a code for another device would be shorter'
complete -c tokensink -n "__fish_tokensink_using_subcommand reauth" -l again -d 'End the attempt that waits, and begin anew'
complete -c tokensink -n "__fish_tokensink_using_subcommand reauth" -l replace-account -d 'Store it also over the login of another account'
complete -c tokensink -n "__fish_tokensink_using_subcommand reauth" -l json -d 'Print each step as a line of JSON; no browser is opened'
complete -c tokensink -n "__fish_tokensink_using_subcommand reauth" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and not __fish_seen_subcommand_from list get set clear help" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and not __fish_seen_subcommand_from list get set clear help" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and not __fish_seen_subcommand_from list get set clear help" -f -a "list" -d 'List the profiles of every agent in the order that holds'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and not __fish_seen_subcommand_from list get set clear help" -f -a "get" -d 'Show the order of one agent'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and not __fish_seen_subcommand_from list get set clear help" -f -a "set" -d 'Set the order of one agent'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and not __fish_seen_subcommand_from list get set clear help" -f -a "clear" -d 'Remove the order of one agent'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and not __fish_seen_subcommand_from list get set clear help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from list" -l agent -d 'The agent; default: main, for a list all' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from list" -l provider -d 'OpenClaw\'s name of the provider; default: that of the sink\'s profile' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from list" -l sink -d 'The sink that names the OpenClaw' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from list" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from get" -l agent -d 'The agent; default: main, for a list all' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from get" -l provider -d 'OpenClaw\'s name of the provider; default: that of the sink\'s profile' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from get" -l sink -d 'The sink that names the OpenClaw' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from get" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from get" -l json -d 'Print JSON'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from get" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from set" -l agent -d 'The agent; default: main, for a list all' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from set" -l provider -d 'OpenClaw\'s name of the provider; default: that of the sink\'s profile' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from set" -l sink -d 'The sink that names the OpenClaw' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from set" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from set" -l json -d 'Print JSON'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from clear" -l agent -d 'The agent; default: main, for a list all' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from clear" -l provider -d 'OpenClaw\'s name of the provider; default: that of the sink\'s profile' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from clear" -l sink -d 'The sink that names the OpenClaw' -r
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from clear" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from clear" -l json -d 'Print JSON'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from clear" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the profiles of every agent in the order that holds'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from help" -f -a "get" -d 'Show the order of one agent'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from help" -f -a "set" -d 'Set the order of one agent'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from help" -f -a "clear" -d 'Remove the order of one agent'
complete -c tokensink -n "__fish_tokensink_using_subcommand order; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tokensink -n "__fish_tokensink_using_subcommand setup" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand setup" -l yes -d 'Do everything that is safe, without asking'
complete -c tokensink -n "__fish_tokensink_using_subcommand setup" -l dry-run -d 'Show what would be done and touch nothing'
complete -c tokensink -n "__fish_tokensink_using_subcommand setup" -l linger -d 'Let the service manager run without a session, without asking'
complete -c tokensink -n "__fish_tokensink_using_subcommand setup" -l replace -d 'Switch off the scripts, timers and units that did this before, without asking'
complete -c tokensink -n "__fish_tokensink_using_subcommand setup" -l manage -d 'Let the daemon set up OpenClaw\'s own configuration, without asking'
complete -c tokensink -n "__fish_tokensink_using_subcommand setup" -l undo -d 'Take back what a set-up did, also in OpenClaw\'s own configuration'
complete -c tokensink -n "__fish_tokensink_using_subcommand setup" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand undo" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand undo" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand alert; and not __fish_seen_subcommand_from test list help" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand alert; and not __fish_seen_subcommand_from test list help" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand alert; and not __fish_seen_subcommand_from test list help" -f -a "test" -d 'Send a test through every channel'
complete -c tokensink -n "__fish_tokensink_using_subcommand alert; and not __fish_seen_subcommand_from test list help" -f -a "list" -d 'List what is open, who was told, and when it is told again'
complete -c tokensink -n "__fish_tokensink_using_subcommand alert; and not __fish_seen_subcommand_from test list help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tokensink -n "__fish_tokensink_using_subcommand alert; and __fish_seen_subcommand_from test" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand alert; and __fish_seen_subcommand_from test" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand alert; and __fish_seen_subcommand_from list" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand alert; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c tokensink -n "__fish_tokensink_using_subcommand alert; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand alert; and __fish_seen_subcommand_from help" -f -a "test" -d 'Send a test through every channel'
complete -c tokensink -n "__fish_tokensink_using_subcommand alert; and __fish_seen_subcommand_from help" -f -a "list" -d 'List what is open, who was told, and when it is told again'
complete -c tokensink -n "__fish_tokensink_using_subcommand alert; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tokensink -n "__fish_tokensink_using_subcommand config; and not __fish_seen_subcommand_from check show help" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand config; and not __fish_seen_subcommand_from check show help" -f -a "check" -d 'Validate it and report every error'
complete -c tokensink -n "__fish_tokensink_using_subcommand config; and not __fish_seen_subcommand_from check show help" -f -a "show" -d 'Print the merged configuration and where each value came from'
complete -c tokensink -n "__fish_tokensink_using_subcommand config; and not __fish_seen_subcommand_from check show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tokensink -n "__fish_tokensink_using_subcommand config; and __fish_seen_subcommand_from check" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand config; and __fish_seen_subcommand_from show" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c tokensink -n "__fish_tokensink_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "check" -d 'Validate it and report every error'
complete -c tokensink -n "__fish_tokensink_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Print the merged configuration and where each value came from'
complete -c tokensink -n "__fish_tokensink_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tokensink -n "__fish_tokensink_using_subcommand completions" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tokensink -n "__fish_tokensink_using_subcommand selftest" -l config -d 'Use this configuration file alone' -r -F
complete -c tokensink -n "__fish_tokensink_using_subcommand selftest" -l json -d 'Print JSON'
complete -c tokensink -n "__fish_tokensink_using_subcommand selftest" -s h -l help -d 'Print help'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "daemon" -d 'Watch, sync and restart, in the foreground; what the unit runs'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "sync" -d 'Make one pass'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "status" -d 'Show the state of logins, sinks, gateways, and what is wrong'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "refresh" -d 'Refresh a login now, through the same path as the daemon'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "history" -d 'Show what happened to each login, from our own record'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "export" -d 'Seal logins for another host, on standard output, and let go of them here'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "import" -d 'Take over the logins of a bundle on standard input'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "doctor" -d 'Check everything that is known to go wrong; changes nothing'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "login" -d 'Log in: a first login, or a new one over the old'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "reauth" -d 'Log in again where that is needed, and see that everybody follows'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "order" -d 'Show or set in which order OpenClaw tries the profiles of a provider'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "setup" -d 'Detect what is there, show what is to be done, and do it'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "undo" -d 'Take back the files and entries that passes made; never puts a token back'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "alert" -d 'Try the alert channels, or show who was told of what'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "config" -d 'Validate or print the configuration'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "completions" -d 'Print a completion script'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "selftest" -d 'Run the whole chain on this host, in a temporary home with stand-ins'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and not __fish_seen_subcommand_from daemon sync status refresh history export import doctor login reauth order setup undo alert config completions selftest help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and __fish_seen_subcommand_from order" -f -a "list" -d 'List the profiles of every agent in the order that holds'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and __fish_seen_subcommand_from order" -f -a "get" -d 'Show the order of one agent'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and __fish_seen_subcommand_from order" -f -a "set" -d 'Set the order of one agent'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and __fish_seen_subcommand_from order" -f -a "clear" -d 'Remove the order of one agent'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and __fish_seen_subcommand_from alert" -f -a "test" -d 'Send a test through every channel'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and __fish_seen_subcommand_from alert" -f -a "list" -d 'List what is open, who was told, and when it is told again'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "check" -d 'Validate it and report every error'
complete -c tokensink -n "__fish_tokensink_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Print the merged configuration and where each value came from'
