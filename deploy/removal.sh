# shellcheck shell=bash
# Taking it all away. Sourced by deploy.sh.

delete_all() {
  local name
  [[ $YES || $DRY_RUN || -t 0 ]] ||
    die "--delete asks before it deletes; where nobody can answer, add --yes."
  look_around
  look_for_alerts
  choose_queue
  ask_before_deleting
  if [[ $API_KEY ]]; then
    say "Clockify's webhooks for $URL:"
    command_of webhooks --url="$URL" ${WORKSPACE:+--workspace="$WORKSPACE"} \
      ${DRY_RUN:+--dry-run} --delete < <(printf '%s\n' "$API_KEY")
  else
    say "! Delete the webhooks for $URL in Clockify yourself, or give --clockify-api-key-file."
  fi
  remove_alerts
  remove_repairs
  gone 'run services' "$SERVICE" --region="$REGION"
  leave_queue
  for name in $(cut -f 1 <<<"$SECRETS"); do
    case $name in
      "$SIGNING_SECRETS_NAME" | "$CREDENTIALS_NAME" | "$API_KEY_NAME" | "$API_KEY_NAME"-*)
        gone secrets "$name"
        ;;
    esac
  done
  if is_enabled iam && there gcloud iam service-accounts list --filter="email=$ACCOUNT" \
    --format='value(email)' && [[ $FOUND ]]; then
    gone 'iam service-accounts' "$ACCOUNT"
  else
    say "iam service-accounts $ACCOUNT: is not there"
  fi
  for name in "$SERVICE" "$SERVICE-repair"; do
    gone 'artifacts packages' "$name" --repository=cloud-run-source-deploy --location="$REGION"
  done
  say "What stays: the queue, empty and paused (it costs nothing, and the name of a deleted one is"
  say "taken for days), the APIs (free), Cloud Build's right to build, the uploaded sources in"
  say "gs://run-sources-$PROJECT-$REGION."
}

ask_before_deleting() {
  local answer
  say "This takes away from project $PROJECT: the function $SERVICE, all that waits in the queue"
  say "$QUEUE, the secrets, the service account, the repairs, the alerts and what was built."
  if there gcloud tasks list --queue="$QUEUE" --location="$REGION" --limit=1 \
    --format='value(name)' && [[ $FOUND ]]; then
    say "! Messages that are not in Salesforce yet wait in the queue."
  fi
  if [[ $YES || $DRY_RUN ]]; then return; fi
  read -rp "Type the function's name to delete all this: " answer
  [[ $answer == "$SERVICE" ]] || die "nothing was deleted."
}

leave_queue() {
  if there gcloud tasks queues describe "$QUEUE" --location="$REGION" --format='value(state)'; then
    [[ $FOUND == PAUSED ]] || change gcloud tasks queues pause "$QUEUE" --location="$REGION" --quiet
    change gcloud tasks queues purge "$QUEUE" --location="$REGION" --quiet
  else
    say "tasks queues $QUEUE: is not there"
  fi
}

gone() { # GROUP RESOURCE...: delete it, if it is there and this script made it
  local group
  read -ra group <<<"$1"
  shift
  if ! there gcloud "${group[@]}" describe "$@" \
    --format='value(labels,metadata.labels,description)'; then
    say "${group[*]} $1: is not there"
  elif [[ $FOUND != *"$MADE_BY"* && ${group[0]} != artifacts ]]; then
    say "! ${group[*]} $1: stays, for this script did not make it"
  else
    change gcloud "${group[@]}" delete "$@" --quiet
  fi
}
