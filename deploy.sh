#!/usr/bin/env bash
# Take a Google Cloud project to a running Clockify-to-Salesforce integration. Safe to run again:
# it describes what is there, changes only what differs, and says what it does before it does it.
# The parts are in deploy/; this is their order.
# shellcheck source-path=SCRIPTDIR
set +x -euo pipefail # +x: a trace (bash -x deploy.sh) would print secrets

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$HERE/deploy/terminal.sh"
source "$HERE/deploy/options.sh"
source "$HERE/deploy/before.sh"
source "$HERE/deploy/values.sh"
source "$HERE/deploy/resources.sh"
source "$HERE/deploy/function.sh"
source "$HERE/deploy/repairs.sh"
source "$HERE/deploy/clockify.sh"
source "$HERE/deploy/alerts.sh"
source "$HERE/deploy/removal.sh"
source "$HERE/deploy/ending.sh"

read_options "$@"
check_tools
check_options
read_values
check_project
check_billing
if [[ $DELETE ]]; then
  delete_all
  exit 0
fi

look_around
look_for_alerts
check_rights
choose
choose_workspaces

say "Project $PROJECT, region $REGION"
make_apis
check_region
choose_settings
make_service_account
make_secrets
make_queue
make_function
make_repairs
forget_key
make_webhooks
make_alerts

if [[ $DRY_RUN ]]; then
  end_dry_run
elif [[ ! $API_KEY$STORED_KEY$SIGNING_SECRETS ]] && ! has_value "$SIGNING_SECRETS_NAME"; then
  say_what_to_click
else
  check_answer
  tell_the_end
  check_all
fi
