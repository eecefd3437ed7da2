#!/usr/bin/env bash
# Take a Google Cloud project to a running Clockify-to-Salesforce integration. Safe to run again:
# it describes what is there, changes only what differs, and says what it does before it does it.
set -euo pipefail
exec 3>&1 # what is said goes here, also from inside a $( )

usage() {
  cat <<'HELP'
usage: ./deploy.sh [options]

  --project ID          the Google Cloud project           (default: the one gcloud is set to)
  --region REGION       where everything runs              (default: europe-west1)
  --service NAME        the function's name                (default: clockify-salesforce)
  --queue NAME          the retry queue's name             (default: NAME-retry)
  --service-account ID  whom the function runs as          (default: NAME)

  --salesforce-credentials-file FILE   the sign-in's JSON; without it: asked for, if there is none
  --signing-secrets-file FILE          the webhooks' signing secrets, one per line: replaces all
  --clockify-api-key-file FILE         to create the webhooks; without it: asked for
  --workspace ID                       the Clockify workspace, if the key sees several
  --clockify-region REGION             euc1, use2, euw2 or apse2; nothing for the global one
  --drop-old-signing-secrets           keep only the secrets of the webhooks that there are now
  --keep-api-key        let the function read the API key too: it settles doubtful cases with it
  --event-subject TEXT  how an Event is called, such as '{project}: {description}'

  --nightly-repair      compare and repair the last days every night (wants --workspace)
  --dry-run             print every command that would change something, and change nothing
  --delete              take away what this script made, after asking
  --yes                 do not ask
  --help

A file name of - reads the value from stdin. The names can also be given by the environment:
see the top of the script.
HELP
}

# --- What can be set, by a flag above or by the environment ---------------------------------------
PROJECT=${PROJECT:-}
REGION=${REGION:-europe-west1}
SERVICE=${SERVICE:-clockify-salesforce}
QUEUE=${QUEUE:-}                                     # $SERVICE-retry
SERVICE_ACCOUNT=${SERVICE_ACCOUNT:-}                 # $SERVICE
SIGNING_SECRETS_NAME=${SIGNING_SECRETS_NAME:-}       # $SERVICE-signing-secrets
CREDENTIALS_NAME=${CREDENTIALS_NAME:-}               # $SERVICE-salesforce
API_KEY_NAME=${API_KEY_NAME:-}                       # $SERVICE-clockify-api-key
EVENT_SUBJECT=${EVENT_SUBJECT:-}
WORKSPACE=${WORKSPACE:-}
CLOCKIFY_REGION=${CLOCKIFY_REGION:-}

BASE_IMAGE=${BASE_IMAGE:-python313}
CONCURRENCY=${CONCURRENCY:-80}        # requests at a time in one instance, and its threads
MAX_INSTANCES=${MAX_INSTANCES:-3}     # 240 calls at a time are more than most orgs take
REPAIR_DAYS=${REPAIR_DAYS:-7}
REPAIR_SCHEDULE=${REPAIR_SCHEDULE:-17 2 * * *}
REPAIR_TIME_ZONE=${REPAIR_TIME_ZONE:-Etc/UTC}
WAIT_SECONDS=${WAIT_SECONDS:-10}      # between two looks at whether new rights have arrived
LOOKS=${LOOKS:-12}

# The retry schedule: 10 s, doubled up to an hour, for 7 days. Cloud Tasks goes on until both the
# duration and the attempts are used up, and -1 attempts would never be: 177 is the number that
# this schedule makes in 7 days.
QUEUE_SETTINGS=(
  --min-backoff=10s --max-backoff=3600s --max-doublings=16
  --max-retry-duration=604800s --max-attempts=177
  --max-dispatches-per-second=10 --max-concurrent-dispatches=10
)
QUEUE_IS="10s 3600s 16 604800s 177 10 10"  # the same, as `describe` tells it

APIS=(
  run.googleapis.com cloudbuild.googleapis.com artifactregistry.googleapis.com
  secretmanager.googleapis.com cloudtasks.googleapis.com iam.googleapis.com
)
# What the person who runs this must be allowed to do in the project.
RIGHTS=(
  serviceusage.services.enable resourcemanager.projects.getIamPolicy
  iam.serviceAccounts.create iam.serviceAccounts.actAs
  secretmanager.secrets.create secretmanager.secrets.setIamPolicy
  secretmanager.versions.add secretmanager.versions.access
  cloudtasks.queues.create cloudtasks.queues.setIamPolicy
  run.services.create run.services.setIamPolicy
  cloudbuild.builds.create artifactregistry.repositories.create storage.buckets.create
)
# The label's key and value mark what this script made: it deletes no secret without them.
MADE_BY=made-by=clockify-salesforce
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# --- Speaking, and the one way to change something -------------------------------------------------
say() { printf '%s\n' "$*" >&3; }
die() { printf 'deploy.sh: %s\n' "$*" >&2; exit 1; }

DRY_RUN='' CHANGES=0
change() { # COMMAND...: print it, then run it; with --dry-run only print it
  local word line='+'
  for word in "$@"; do line+=" $(printf '%q' "$word")"; done
  say "$line"
  CHANGES=$((CHANGES + 1))
  [[ $DRY_RUN ]] || "$@" >/dev/null
}

SCRATCH=$(mktemp -d) FOUND=''
there() { # COMMAND...: run gcloud to read into FOUND; false when it says that nothing is there
  local complaint
  if FOUND=$("$@" 2>"$SCRATCH/complaint"); then return 0; fi
  complaint=$(<"$SCRATCH/complaint")
  case $complaint in
    *NOT_FOUND* | *"not found"* | *"Not found"* | *"Cannot find"* | *"could not be found"* | \
      *"does not exist"* | *"matched no objects"* | *"Could not find"*) return 1 ;;
  esac
  # An API that is not enabled yet has nothing in it; only a dry run comes by here.
  if [[ $DRY_RUN$DELETE && $complaint == *SERVICE_DISABLED* ]]; then return 1; fi
  printf '%s\n' "$complaint" >&2
  die "this command failed: $*"
}

finish() {
  local status=$?
  rm -rf "$SCRATCH"
  if ((status && CHANGES)) && [[ ! $DRY_RUN ]]; then
    printf '%s\n' "Stopped half-way: what has been made stays, the same command goes on." >&2
  fi
}
trap finish EXIT

# --- Options ---------------------------------------------------------------------------------------
CREDENTIALS_FILE='' SECRETS_FILE='' API_KEY_FILE=''
DROP_OLD='' KEEP_API_KEY='' NIGHTLY='' DELETE='' YES=''

while (($#)); do
  case $1 in
    --*=*)
      option=$1
      shift
      set -- "${option%%=*}" "${option#*=}" "$@"
      ;;
  esac
  case $1 in
    --dry-run) DRY_RUN=1 && shift && continue ;;
    --delete) DELETE=1 && shift && continue ;;
    --yes) YES=1 && shift && continue ;;
    --keep-api-key) KEEP_API_KEY=1 && shift && continue ;;
    --drop-old-signing-secrets) DROP_OLD=1 && shift && continue ;;
    --nightly-repair) NIGHTLY=1 && shift && continue ;;
    --help | -h) usage && exit 0 ;;
  esac
  (($# > 1)) || die "unknown option or missing value: $1 (see ./deploy.sh --help)"
  case $1 in
    --project) PROJECT=$2 ;;
    --region) REGION=$2 ;;
    --service) SERVICE=$2 ;;
    --queue) QUEUE=$2 ;;
    --service-account) SERVICE_ACCOUNT=$2 ;;
    --salesforce-credentials-file) CREDENTIALS_FILE=$2 ;;
    --signing-secrets-file) SECRETS_FILE=$2 ;;
    --clockify-api-key-file) API_KEY_FILE=$2 ;;
    --workspace) WORKSPACE=$2 ;;
    --clockify-region) CLOCKIFY_REGION=$2 ;;
    --event-subject) EVENT_SUBJECT=$2 ;;
    *) die "unknown option: $1 (see ./deploy.sh --help)" ;;
  esac
  shift 2
done

QUEUE=${QUEUE:-$SERVICE-retry}
SERVICE_ACCOUNT=${SERVICE_ACCOUNT:-$SERVICE}
SIGNING_SECRETS_NAME=${SIGNING_SECRETS_NAME:-$SERVICE-signing-secrets}
CREDENTIALS_NAME=${CREDENTIALS_NAME:-$SERVICE-salesforce}
API_KEY_NAME=${API_KEY_NAME:-$SERVICE-clockify-api-key}
REPAIR_JOB=$SERVICE-repair

# --- What is needed, before anything is changed ------------------------------------------------------
CHECK_SUBJECT='
import mapping, sys
try:
    mapping.check_subject(sys.stdin.read())
except mapping.IntegrationError as error:
    sys.exit(f"deploy.sh: {error}")
'
check_options() {
  [[ $SERVICE =~ ^[a-z]([a-z0-9-]{0,47}[a-z0-9])?$ ]] ||
    die "--service takes 1 to 49 small letters, digits and hyphens, beginning with a letter."
  [[ $SERVICE_ACCOUNT =~ ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ ]] ||
    die "--service-account takes 6 to 30 small letters, digits and hyphens; not '$SERVICE_ACCOUNT'."
  [[ $EVENT_SUBJECT != *'~~'* ]] || die "--event-subject must not hold ~~."
  [[ ! $EVENT_SUBJECT || $DELETE ]] || printf '%s' "$EVENT_SUBJECT" |
    PYTHONPATH=$HERE "$PYTHON" -c "$CHECK_SUBJECT" || exit 1
  [[ ! $NIGHTLY || $WORKSPACE ]] ||
    die "--nightly-repair needs --workspace: the id in the address of Clockify's settings page."
}

check_tools() {
  local tool
  for tool in gcloud curl; do
    command -v "$tool" >/dev/null || case $tool in
      gcloud) die "gcloud is not installed: https://cloud.google.com/sdk/docs/install" ;;
      *) die "$tool is not installed: install it with the system's package manager." ;;
    esac
  done
  PYTHON=${PYTHON:-$HERE/.venv/bin/python}
  command -v "$PYTHON" >/dev/null || PYTHON=python3
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    die "Python 3.11 or newer is not installed: https://www.python.org/downloads/"
  [[ -f $HERE/main.py && -f $HERE/requirements.txt ]] ||
    die "main.py or requirements.txt is missing in $HERE: run deploy.sh from a whole copy."
}

check_project() {
  export CLOUDSDK_CORE_DISABLE_PROMPTS=1
  TOKEN=$(gcloud auth print-access-token 2>/dev/null) ||
    die "gcloud is not signed in: run  gcloud auth login"
  PROJECT=${PROJECT:-$(gcloud config get-value project 2>/dev/null)}
  [[ $PROJECT && $PROJECT != '(unset)' ]] ||
    die "no project is set: run  gcloud config set project PROJECT_ID  or give --project."
  export CLOUDSDK_CORE_PROJECT=$PROJECT
  PROJECT_NUMBER=$(gcloud projects describe "$PROJECT" --format='value(projectNumber)' \
    2>/dev/null) && [[ $PROJECT_NUMBER ]] ||
    die "there is no project '$PROJECT' that you may see: find its id with  gcloud projects list"
  local billing
  billing=$(gcloud billing projects describe "$PROJECT" --format='value(billingEnabled)') ||
    die "cannot tell whether project '$PROJECT' has billing: see gcloud's words above."
  [[ $billing == [Tt]rue ]] ||
    die "project '$PROJECT' has no billing: run  gcloud billing projects link $PROJECT" \
      "--billing-account ACCOUNT  with an account of  gcloud billing accounts list"
}

check_rights() { # gcloud has no command for this question: it is the API's own
  local body answer right missing=()
  if [[ $NIGHTLY ]]; then
    RIGHTS+=(run.jobs.create run.jobs.setIamPolicy cloudscheduler.jobs.create)
  fi
  body=$(printf '"%s",' "${RIGHTS[@]}")
  # The token goes through a file descriptor: a command line can be read by others.
  answer=$(curl --silent --show-error --fail-with-body --max-time 30 \
    --config <(printf 'header = "Authorization: Bearer %s"\n' "$TOKEN") \
    --header 'Content-Type: application/json' --data "{\"permissions\":[${body%,}]}" \
    "https://cloudresourcemanager.googleapis.com/v1/projects/$PROJECT:testIamPermissions") ||
    die "cannot ask for your rights in project '$PROJECT'; if the API is off, run" \
      "gcloud services enable cloudresourcemanager.googleapis.com  $answer"
  for right in "${RIGHTS[@]}"; do
    [[ $answer == *"\"$right\""* ]] || missing+=("$right")
  done
  ((${#missing[@]} == 0)) ||
    die "you may not do this in project '$PROJECT': ${missing[*]}. Have an owner run" \
      "gcloud projects add-iam-policy-binding $PROJECT --role=roles/owner --member=user:YOUR_EMAIL"
}

# --- Secret values: in variables of this shell only, from a file, a prompt or gcloud's stdout ------
CREDENTIALS='' SIGNING_SECRETS='' API_KEY=''

read_value() { # KIND FILE: print the checked value of a file, or stop with what is wrong with it
  if [[ $2 == - ]]; then
    "$PYTHON" "$HERE/secret_values.py" "$1"
  else
    [[ -r $2 ]] || die "cannot read the file '$2'."
    "$PYTHON" "$HERE/secret_values.py" "$1" <"$2"
  fi
}

ask() { # QUESTION: print one line that is typed without being shown
  local line=''
  printf '%s: ' "$1" >/dev/tty
  IFS= read -rs line </dev/tty || true
  printf '\n' >/dev/tty
  printf '%s\n' "$line"
}

can_ask() { [[ -t 0 && -t 1 && ! $DRY_RUN ]]; }

has_value() { # SECRET: true when it has a version to read
  there gcloud secrets versions describe latest --secret="$1"
}

read_values() {
  local asked
  if [[ $CREDENTIALS_FILE ]]; then
    CREDENTIALS=$(read_value salesforce-credentials "$CREDENTIALS_FILE") || exit 1
  elif [[ ! $DRY_RUN ]] && ! { api_is_on secretmanager && has_value "$CREDENTIALS_NAME"; }; then
    can_ask || die "the Salesforce credentials are missing: give --salesforce-credentials-file."
    say 'Salesforce: {"domain": "acme.my", "consumer_key": "...", "consumer_secret": "..."}'
    CREDENTIALS=$(ask "Paste your JSON as one line" |
      "$PYTHON" "$HERE/secret_values.py" salesforce-credentials) || exit 1
  fi
  if [[ $SECRETS_FILE ]]; then
    SIGNING_SECRETS=$(read_value signing-secrets "$SECRETS_FILE") || exit 1
  fi
  if [[ $API_KEY_FILE ]]; then
    API_KEY=$(read_value clockify-api-key "$API_KEY_FILE") || exit 1
  elif [[ ! $SECRETS_FILE ]] && can_ask; then
    asked=$(ask "Clockify API key, to create the webhooks (Enter: by hand)")
    if [[ $asked ]]; then
      API_KEY=$(printf '%s' "$asked" | "$PYTHON" "$HERE/secret_values.py" clockify-api-key) ||
        exit 1
    fi
  fi
  if [[ $API_KEY ]]; then
    "$PYTHON" -c 'import requests' 2>/dev/null ||
      die "Python has no 'requests' to create webhooks with: run  $PYTHON -m pip install requests"
  fi
  if [[ $KEEP_API_KEY$NIGHTLY && ! $API_KEY && ! $DRY_RUN ]] &&
    ! { api_is_on secretmanager && has_value "$API_KEY_NAME"; }; then
    die "the Clockify API key is missing: give --clockify-api-key-file."
  fi
}

# --- The parts: describe, or create ------------------------------------------------------------------
ENABLED=''
api_is_on() { # NAME: true when the API is enabled
  [[ $ENABLED ]] || ENABLED=enabled:$'\n'$(gcloud services list --enabled \
    --format='value(config.name)')
  [[ $'\n'$ENABLED$'\n' == *$'\n'"$1.googleapis.com"$'\n'* ]]
}

make_apis() {
  local api missing=()
  if [[ $NIGHTLY ]]; then APIS+=(cloudscheduler.googleapis.com); fi
  for api in "${APIS[@]}"; do
    api_is_on "${api%.googleapis.com}" || missing+=("$api")
  done
  if ((${#missing[@]})); then
    change gcloud services enable "${missing[@]}"
  else
    say "APIs: enabled"
  fi
}

make_service_account() {
  ACCOUNT=$SERVICE_ACCOUNT@$PROJECT.iam.gserviceaccount.com
  if there gcloud iam service-accounts describe "$ACCOUNT"; then
    say "service account $ACCOUNT: is there"
  else
    change gcloud iam service-accounts create "$SERVICE_ACCOUNT" \
      --display-name="Clockify to Salesforce" --description="$MADE_BY"
  fi
}

FRESH='' # set while the resource in hand was made a moment ago and has no policy yet
bind() { # ROLE MEMBER GROUP... -- RESOURCE...: give the role on that resource, if it has it not
  local role=$1 member=$2 group=() members look complaint
  shift 2
  while [[ $1 != -- ]]; do
    group+=("$1")
    shift
  done
  shift
  members=''
  if [[ ! $FRESH ]]; then
    members=$(gcloud "${group[@]}" get-iam-policy "$@" --flatten='bindings[].members' \
      --filter="bindings.role=$role" --format='value(bindings.members)' 2>/dev/null) || members=''
  fi
  if [[ $'\n'$members$'\n' == *$'\n'"$member"$'\n'* ]]; then
    say "$role on $1: is there"
    return
  fi
  if [[ ${group[0]} == projects ]]; then set -- "$@" --condition=None; fi
  # A service account takes a moment until it is known everywhere.
  for ((look = 1; ; look++)); do
    if complaint=$(change gcloud "${group[@]}" add-iam-policy-binding "$@" \
      --role="$role" --member="$member" 2>&1 >&3); then
      CHANGES=$((CHANGES + 1)) # the count in $( ) is lost
      return
    fi
    if ((look >= LOOKS)) || [[ $complaint != *"does not exist"* ]]; then
      printf '%s\n' "$complaint" >&2
      return 1
    fi
    sleep "$WAIT_SECONDS"
  done
}

make_secret() { # NAME VALUE: the secret, a new version if a value is given and differs, the right
  local now
  FRESH=''
  if there gcloud secrets describe "$1"; then
    say "secret $1: is there"
  else
    FRESH=1
    change gcloud secrets create "$1" --replication-policy=automatic --labels="$MADE_BY"
  fi
  if [[ $2 ]]; then store_value "$1" "$2"; fi
  bind roles/secretmanager.secretAccessor "serviceAccount:$ACCOUNT" secrets -- "$1"
}

current_value() { # SECRET: print what its newest version holds, nothing if there is none
  if there gcloud secrets versions access latest --secret="$1"; then printf '%s' "$FOUND"; fi
}

store_value() { # SECRET VALUE: a new version, through stdin, when the value is another
  local now
  now=$(current_value "$1")
  if [[ $now == "$2" ]]; then
    say "value of $1: the same"
  else
    printf '%s' "$2" | change gcloud secrets versions add "$1" --data-file=-
    CHANGES=$((CHANGES + 1)) # the pipe's own count is lost in its subshell
  fi
}

make_queue() {
  local settings
  local keys=retryConfig.minBackoff,retryConfig.maxBackoff,retryConfig.maxDoublings
  keys+=,retryConfig.maxRetryDuration,retryConfig.maxAttempts
  keys+=,rateLimits.maxDispatchesPerSecond,rateLimits.maxConcurrentDispatches
  FRESH=''
  if ! there gcloud tasks queues describe "$QUEUE" --location="$REGION" \
    --format="csv[no-heading,separator=' '](state,$keys)"; then
    FRESH=1
    change gcloud tasks queues create "$QUEUE" --location="$REGION" "${QUEUE_SETTINGS[@]}"
  else
    settings=$FOUND
    if [[ ${settings//.0/} == *" $QUEUE_IS" ]]; then
      say "queue $QUEUE: is there"
    else
      change gcloud tasks queues update "$QUEUE" --location="$REGION" "${QUEUE_SETTINGS[@]}"
    fi
    if [[ $settings == PAUSED* ]]; then
      say "! The queue is paused: gcloud tasks queues resume $QUEUE --location=$REGION"
    fi
  fi
  bind roles/cloudtasks.enqueuer "serviceAccount:$ACCOUNT" \
    tasks queues -- "$QUEUE" --location="$REGION"
}

allow_build() { # Cloud Build's account may build: old projects have it so, new ones do not
  local builder roles
  FRESH=''
  if ! builder=$(gcloud builds get-default-service-account --region="$REGION" \
    --format='value(serviceAccountEmail)' 2>/dev/null) || [[ ! $builder ]]; then
    builder=$PROJECT_NUMBER-compute@developer.gserviceaccount.com
  fi
  builder=${builder##*/}
  roles=$(gcloud projects get-iam-policy "$PROJECT" --flatten='bindings[].members' \
    --filter="bindings.members=serviceAccount:$builder" --format='value(bindings.role)' 2>/dev/null) ||
    die "cannot read who may do what in project '$PROJECT' (resourcemanager.projects.getIamPolicy)."
  if grep -qxE 'roles/(editor|owner|run.builder|cloudbuild.builds.builder)' <<<"$roles"; then
    say "Cloud Build's right to build: is there"
  else
    bind roles/run.builder "serviceAccount:$builder" projects -- "$PROJECT"
  fi
}

settings_of_function() { # print its environment in gcloud's notation with ~~ between
  local names="^~~^SIGNING_SECRETS=projects/$PROJECT/secrets/$SIGNING_SECRETS_NAME"
  names+="~~SALESFORCE_CREDENTIALS=projects/$PROJECT/secrets/$CREDENTIALS_NAME"
  names+="~~RETRY_QUEUE=projects/$PROJECT/locations/$REGION/queues/$QUEUE"
  names+="~~FUNCTION_URL=$URL"
  if [[ $EVENT_SUBJECT ]]; then names+="~~EVENT_SUBJECT=$EVENT_SUBJECT"; fi
  if [[ $KEEP_API_KEY ]]; then
    names+="~~CLOCKIFY_API_KEY=projects/$PROJECT/secrets/$API_KEY_NAME"
  fi
  printf '%s' "$names"
}

digest_of() { # SETTING...: print a fingerprint of the files that are deployed and these settings
  local file
  {
    gcloud meta list-files-for-upload "$HERE" | LC_ALL=C sort | while IFS= read -r file; do
      printf '%s\n' "$file"
      cat "$HERE/$file"
    done
    printf '%s\n' "$@"
  } | "$PYTHON" -c \
    'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:40])'
}

# What the service's JSON tells: its digest if it is ready, and its EVENT_SUBJECT, a line each.
READ_SERVICE='
import json, sys
service = json.load(sys.stdin)
ready = {"type": "Ready", "status": "True"}.items()
is_ready = any(ready <= each.items() for each in service["status"].get("conditions", []))
print(service["metadata"].get("labels", {}).get("digest", "") if is_ready else "")
environment = service["spec"]["template"]["spec"]["containers"][0].get("env", [])
print(next((each.get("value", "") for each in environment if each["name"] == "EVENT_SUBJECT"), ""))
'
make_function() {
  local settings digest now=''
  if there gcloud run services describe "$SERVICE" --region="$REGION" --format=json; then
    now=$("$PYTHON" -c "$READ_SERVICE" <<<"$FOUND")
    # Without --event-subject, what the function has stays.
    EVENT_SUBJECT=${EVENT_SUBJECT:-$(sed -n 2p <<<"$now")}
    now=$(sed -n 1p <<<"$now")
  fi
  settings=(
    --function=clockify_webhook --base-image="$BASE_IMAGE"
    --service-account="$ACCOUNT" --no-invoker-iam-check
    --concurrency="$CONCURRENCY" --cpu=1 --memory=512Mi --cpu-boost
    --max-instances="$MAX_INSTANCES" --timeout=60
    --set-env-vars="$(settings_of_function)~~THREADS=$CONCURRENCY"
  )
  digest=$(digest_of "${settings[@]}")
  if [[ $now == "$digest" ]]; then
    say "function $SERVICE: is there, same source, same settings"
    return
  fi
  allow_build
  deploy gcloud run deploy "$SERVICE" --source="$HERE" --region="$REGION" "${settings[@]}" \
    --labels="$MADE_BY,digest=$digest"
}

deploy() { # COMMAND...: run it, and once more if a right that is new has not arrived yet
  if ((CHANGES)) && [[ ! $DRY_RUN ]]; then
    if change "$@"; then return; fi
    say "Once more in 60 s: what was given a moment ago may not have arrived yet."
    sleep $((6 * WAIT_SECONDS))
  fi
  change "$@"
}

# --- Clockify's side -----------------------------------------------------------------------------------
webhooks() { # OPTION...: run webhooks.py with the key on its stdin
  printf '%s\n' "$API_KEY" | "$PYTHON" "$HERE/webhooks.py" --url="$URL" \
    ${WORKSPACE:+--workspace="$WORKSPACE"} ${CLOCKIFY_REGION:+--region="$CLOCKIFY_REGION"} \
    ${DRY_RUN:+--dry-run} "$@"
}

make_webhooks() {
  local found kept='' asked failed=''
  if [[ $API_KEY ]]; then
    say "Clockify's webhooks for $URL:"
    found=$(webhooks) || failed=1
    # What is stored stays, so that nothing authentic is refused.
    if [[ ! $DROP_OLD ]]; then kept=$(current_value "$SIGNING_SECRETS_NAME"); fi
    if [[ $found && ! $DRY_RUN ]]; then
      asked=$(printf '%s\n' "$found" "$kept" | sed '/^$/d' |
        "$PYTHON" "$HERE/secret_values.py" signing-secrets) || exit 1
      store_value "$SIGNING_SECRETS_NAME" "$asked"
    fi
    [[ ! $failed ]] || die "the webhooks are not all there: see above."
  elif [[ ! $DRY_RUN ]] && ! has_value "$SIGNING_SECRETS_NAME"; then
    say_what_to_click
    HAS_SECRETS=''
  fi
}

say_what_to_click() {
  cat <<TEXT

Create the webhooks in Clockify: Preferences, Advanced, Webhooks (or the workspace's Webhooks page),
Create webhook, once for each event, with this URL:
  $URL
  1. Timer stopped (anyone)          4. Time entry deleted (anyone)
  2. Time entry created (anyone)     5. Time entry restored (anyone)
  3. Time entry updated (anyone)     6. Time entry split (anyone)
A Free workspace has three: take the first three. Copy each signing secret into a file, one per
line, and run:
  ./deploy.sh --signing-secrets-file FILE
TEXT
}

# --- Every night: compare with Clockify and repair ---------------------------------------------------
make_nightly_repair() {
  local settings digest now uri
  uri=https://run.googleapis.com/v2/projects/$PROJECT/locations/$REGION/jobs/$REPAIR_JOB:run
  settings=(
    --command=/cnb/lifecycle/launcher
    --args="python,backfill.py,--workspace,$WORKSPACE,--days,$REPAIR_DAYS,--apply"
    --service-account="$ACCOUNT" --cpu=1 --memory=512Mi --max-retries=1 --task-timeout=3h
    --set-env-vars="$(settings_of_function)${CLOCKIFY_REGION:+~~CLOCKIFY_REGION=$CLOCKIFY_REGION}"
  )
  digest=$(digest_of "${settings[@]}")
  FRESH='' now=''
  if there gcloud run jobs describe "$REPAIR_JOB" --region="$REGION" \
    --format='value(metadata.labels.digest)'; then
    now=$FOUND
  fi
  if [[ $now == "$digest" ]]; then
    say "job $REPAIR_JOB: is there, same source, same settings"
  else
    allow_build
    deploy gcloud run jobs deploy "$REPAIR_JOB" --source="$HERE" --region="$REGION" \
      "${settings[@]}" --labels="$MADE_BY,digest=$digest"
  fi
  bind roles/run.invoker "serviceAccount:$ACCOUNT" run jobs -- "$REPAIR_JOB" --region="$REGION"
  settings=(
    --location="$REGION" --schedule="$REPAIR_SCHEDULE" --time-zone="$REPAIR_TIME_ZONE"
    --uri="$uri" --http-method=post --oauth-service-account-email="$ACCOUNT"
  )
  if ! there gcloud scheduler jobs describe "$REPAIR_JOB" --location="$REGION" \
    --format="csv[no-heading,separator=' '](schedule,timeZone,httpTarget.uri)"; then
    change gcloud scheduler jobs create http "$REPAIR_JOB" "${settings[@]}"
    return
  fi
  if [[ $FOUND == "$REPAIR_SCHEDULE $REPAIR_TIME_ZONE $uri" ]]; then
    say "schedule $REPAIR_JOB: is there"
  else
    change gcloud scheduler jobs update http "$REPAIR_JOB" "${settings[@]}"
  fi
}

# --- Does it answer? -----------------------------------------------------------------------------------
check_answer() { # a request with a made-up signature: 401 tells that the function reads its secrets
  local look status=''
  for ((look = 1; look <= LOOKS; look++)); do
    status=$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time 30 \
      --header 'Content-Type: application/json' --header 'Clockify-Signature: deploy-check' \
      --data '{}' "$URL") || true
    if [[ $status == 401 ]]; then
      say "The function answers, reads its signing secrets, and refuses a stranger (401)."
      return
    fi
    sleep "$WAIT_SECONDS"
  done
  die "the function answers $status instead of 401 to a stranger: see" \
    "gcloud run services logs read $SERVICE --region=$REGION --project=$PROJECT"
}

# --- Taking it away --------------------------------------------------------------------------------------
delete_all() {
  local answer waiting name
  ACCOUNT=$SERVICE_ACCOUNT@$PROJECT.iam.gserviceaccount.com
  say "This takes away from project $PROJECT: the function $SERVICE, the queue $QUEUE with all that"
  say "waits in it, the secrets, the service account, the nightly repair and what was built."
  waiting=''
  if there gcloud tasks queues describe "$QUEUE" --location="$REGION"; then
    waiting=$(gcloud tasks list --queue="$QUEUE" --location="$REGION" --limit=1 \
      --format='value(name)')
  fi
  if [[ $waiting ]]; then say "! Messages that are not in Salesforce yet wait in the queue."; fi
  if [[ ! $YES && ! $DRY_RUN ]]; then
    [[ -t 0 ]] || die "--delete asks before it deletes; where nobody can answer, add --yes."
    read -rp "Type the function's name to delete all this: " answer
    [[ $answer == "$SERVICE" ]] || die "nothing was deleted."
  fi
  if [[ $API_KEY_FILE ]]; then
    API_KEY=$(read_value clockify-api-key "$API_KEY_FILE") || exit 1
    say "Clockify's webhooks for $URL:"
    webhooks --delete
  else
    say "! Delete the webhooks for $URL in Clockify yourself, or give --clockify-api-key-file."
  fi
  gone scheduler jobs -- "$REPAIR_JOB" --location="$REGION"
  gone run jobs -- "$REPAIR_JOB" --region="$REGION"
  gone run services -- "$SERVICE" --region="$REGION"
  gone tasks queues -- "$QUEUE" --location="$REGION"
  for name in "$SIGNING_SECRETS_NAME" "$CREDENTIALS_NAME" "$API_KEY_NAME"; do
    if there gcloud secrets describe "$name" --format="value(labels.${MADE_BY%=*})" &&
      [[ $FOUND != "${MADE_BY#*=}" ]]; then
      say "! secret $name: stays, for this script did not make it"
    else
      gone secrets -- "$name"
    fi
  done
  gone iam service-accounts -- "$ACCOUNT"
  for name in "$SERVICE" "$REPAIR_JOB"; do
    gone artifacts packages -- "$name" --repository=cloud-run-source-deploy --location="$REGION"
  done
  say "What stays: the APIs (free), Cloud Build's right to build, the uploaded sources in"
  say "gs://run-sources-$PROJECT-$REGION. A deleted queue's name is free again after some days."
}

gone() { # GROUP... -- RESOURCE...: delete it, if it is there
  local group=()
  while [[ $1 != -- ]]; do
    group+=("$1")
    shift
  done
  shift
  if there gcloud "${group[@]}" describe "$@"; then
    change gcloud "${group[@]}" delete "$@" --quiet
  else
    say "${group[*]} $1: is not there"
  fi
}

# --- The order of it all --------------------------------------------------------------------------------
check_tools
check_options
check_project
URL=https://$SERVICE-$PROJECT_NUMBER.$REGION.run.app
if [[ $DELETE ]]; then
  delete_all
  exit 0
fi
check_rights
read_values

say "Project $PROJECT, region $REGION"
HAS_SECRETS=1
make_apis
make_service_account
make_secret "$CREDENTIALS_NAME" "$CREDENTIALS"
make_secret "$SIGNING_SECRETS_NAME" "$SIGNING_SECRETS"
if [[ $NIGHTLY ]] || there gcloud secrets describe "$API_KEY_NAME"; then KEEP_API_KEY=1; fi
if [[ $KEEP_API_KEY ]]; then make_secret "$API_KEY_NAME" "$API_KEY"; fi
make_queue
make_function
make_webhooks
if [[ $NIGHTLY ]]; then make_nightly_repair; fi

if [[ $DRY_RUN ]]; then
  say "Nothing was changed: $CHANGES commands would change something."
  exit 0
fi
if [[ $HAS_SECRETS ]]; then check_answer; fi
if ((!CHANGES)); then say "Nothing differed, nothing was changed."; fi
say ""
say "The URL for Clockify's webhooks:"
say "  $URL"
