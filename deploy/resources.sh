# shellcheck shell=bash
# What the function needs around it: APIs, service account, secrets, queue. Each is described, or
# made; what differs is changed. Sourced by deploy.sh.

# A queued message is given up by the function itself, out loud, after 7 days; the queue must not be
# quicker than that, whatever happens: no limit to the attempts, and all of the 31 days that Cloud
# Tasks keeps a task. 10 s, doubled up to an hour.
QUEUE_SETTINGS=(
  --min-backoff=10s --max-backoff=3600s --max-doublings=16
  --max-retry-duration=2678400s --max-attempts=unlimited
  --max-dispatches-per-second=10 --max-concurrent-dispatches=10
)
# The same, as `describe` tells it.
QUEUE_KEYS=retryConfig.minBackoff,retryConfig.maxBackoff,retryConfig.maxDoublings
QUEUE_KEYS+=,retryConfig.maxRetryDuration,retryConfig.maxAttempts
QUEUE_KEYS+=,rateLimits.maxDispatchesPerSecond,rateLimits.maxConcurrentDispatches
QUEUE_IS=$'10s\t3600s\t16\t2678400s\t-1\t10\t10'

APIS=(run cloudbuild artifactregistry secretmanager cloudtasks iam)

make_apis() {
  local api missing=()
  if repairs; then APIS+=(cloudscheduler); fi
  if wants_alerts; then APIS+=(monitoring); fi
  for api in "${APIS[@]}"; do
    is_enabled "$api" || missing+=("$api.googleapis.com")
  done
  if ((${#missing[@]})); then
    change gcloud services enable "${missing[@]}"
  else
    say "APIs: enabled"
  fi
}

choose_queue() {
  local now
  now=$(live env.RETRY_QUEUE)
  QUEUE=${QUEUE:-${now##*/}}
  QUEUE=${QUEUE:-$SERVICE-retry}
}

# https://cloud.google.com/tasks/docs/locations: not every region of Cloud Run's has them.
check_region() { # before anything is made in it
  QUEUE_NOW=''
  choose_queue
  if is_enabled cloudtasks && there gcloud tasks queues describe "$QUEUE" --location="$REGION" \
    --format="value($QUEUE_KEYS,state)"; then QUEUE_NOW=$FOUND; fi
  [[ $QUEUE_NOW ]] || is_offered_here cloudtasks "Cloud Tasks" tasks
  [[ $SCHEDULES ]] || ! repairs || is_offered_here cloudscheduler "Cloud Scheduler" scheduler
}

is_offered_here() { # API NAME GROUP: stop where Google has it not in this region
  if [[ $DRY_RUN ]] && ! is_enabled "$1"; then return; fi # which cannot be asked then
  patiently gcloud "$3" locations list --format='value(locationId)' ||
    stopped_by gcloud "$3" locations list
  grep -qxF "$REGION" <<<"$ANSWER" ||
    die "$2 is not in $REGION: take another --region, one of ${ANSWER//$'\n'/, }."
}

make_service_account() {
  # Describing one that is not there is answered 403, as if a right were missing.
  if is_enabled iam && there gcloud iam service-accounts list --filter="email=$ACCOUNT" \
    --format='value(email)' && [[ $FOUND ]]; then
    say "service account $ACCOUNT: is there"
  else
    change gcloud iam service-accounts create "$SERVICE" \
      --display-name="Clockify to Salesforce" --description="$MADE_BY"
  fi
}

bind() { # ROLE GROUP NEW RESOURCE...: give the function's account the role on that resource only
  local role=$1 group new=$3 given=''
  read -ra group <<<"$2"
  shift 3
  if [[ ! $new ]]; then
    given=$(gcloud "${group[@]}" get-iam-policy "$@" --flatten='bindings[].members' \
      --filter="bindings.role=$role AND bindings.members=serviceAccount:$ACCOUNT" \
      --format='value(bindings.role)' 2>/dev/null) || true
  fi
  if [[ $given ]]; then
    say "$role on $1: is there"
  else
    change gcloud "${group[@]}" add-iam-policy-binding "$@" \
      --role="$role" --member="serviceAccount:$ACCOUNT"
  fi
}

make_secrets() {
  local each name key
  make_secret "$CREDENTIALS_NAME" "$CREDENTIALS"
  make_secret "$SIGNING_SECRETS_NAME" "$SIGNING_SECRETS"
  if ! keeps_key; then return; fi
  for each in $MAIN $OTHERS; do
    name=$(key_name_of "$each")
    if [[ $each == "$MAIN" || $name != "$API_KEY_NAME" ]]; then
      if [[ $each == "${WORKSPACE:-$MAIN}" ]]; then key=$API_KEY; else key=''; fi
      make_secret "$name" "$key" "$each"
    fi
  done
}

forget_key() { # once neither the function nor a job reads it any more
  local each
  if [[ $KEEP_API_KEY == yes ]]; then return; fi
  for each in $(cut -f 1 <<<"$SECRETS"); do
    case $each in "$API_KEY_NAME" | "$API_KEY_NAME"-*) gone secrets "$each" ;; esac
  done
}

make_secret() { # NAME VALUE [WORKSPACE]: the secret, a new version if a given value differs, the right
  local new=''
  if is_secret "$1"; then
    say "secret $1: is there"
    if [[ ${3:-} && ! $(column "$SECRETS" "$1" 2) ]]; then
      change gcloud secrets update "$1" --update-labels="workspace=$3"
    fi
  else
    new=1
    # `automatic` is refused where an organisation allows some regions only, which costs the same.
    change gcloud secrets create "$1" --replication-policy=user-managed --locations="$REGION" \
      --labels="$MADE_BY${3:+,workspace=$3}"
    [[ $DRY_RUN ]] || SECRETS+=$'\n'$1$'\t'${3:-}
  fi
  if [[ $2 ]]; then store_value "$1" "$2"; fi
  bind roles/secretmanager.secretAccessor secrets "$new" "$1"
}

store_value() { # SECRET VALUE: a new version, through stdin, when the value is another
  local now
  now=$(current_value "$1")
  if [[ $now == "$2" ]]; then
    say "value of $1: the same"
    return
  fi
  INPUT=$2
  change gcloud secrets versions add "$1" --data-file=- --format='value(name)'
  INPUT=''
  [[ $DRY_RUN ]] || wait_until_served "$1" "${ANSWER##*/}"
}

# `latest`, which the function reads, is consistent only after minutes.
# https://cloud.google.com/secret-manager/docs/access-secret-version
wait_until_served() { # SECRET NUMBER
  local wait
  for wait in 1 2 3 4 6 6 6 6 6 6 2; do
    if there gcloud secrets versions access latest --secret="$1" --format='value(name.basename())' &&
      [[ $FOUND == "$2" ]]; then return; fi
    say "Google does not serve version $2 of $1 yet: another look in $((wait * WAIT_SECONDS)) s."
    sleep $((wait * WAIT_SECONDS))
  done
  say "! After 8 minutes Google still serves an older version of $1; the function will look again."
}

make_queue() {
  local is=${QUEUE_NOW//.0/} new='' create
  if [[ ! $is ]]; then
    new=1
    create=(gcloud tasks queues create "$QUEUE" --location="$REGION" "${QUEUE_SETTINGS[@]}")
    if ! try "${create[@]}"; then
      # https://cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues/delete
      ! complains 'existed too recently' ||
        die "Google keeps the name of the deleted queue $QUEUE for 3 days, at times 7: name another" \
          "one, --queue $QUEUE-2, or wait."
      stopped_by "${create[@]}"
    fi
  elif [[ $is == "$QUEUE_IS"$'\t'* ]]; then
    say "queue $QUEUE: is there"
  else
    change gcloud tasks queues update "$QUEUE" --location="$REGION" "${QUEUE_SETTINGS[@]}"
  fi
  if [[ $is == *$'\tPAUSED' && ! $LIVE ]]; then # --delete has left it so
    change gcloud tasks queues resume "$QUEUE" --location="$REGION"
  elif [[ $is == *$'\tPAUSED' ]]; then
    say "! The queue is paused: gcloud tasks queues resume $QUEUE --location=$REGION"
  fi
  bind roles/cloudtasks.enqueuer 'tasks queues' "$new" "$QUEUE" --location="$REGION"
}
