# shellcheck shell=bash
# What is needed before anything is changed, and what is there already. Sourced by deploy.sh.

# What the person who runs this must be allowed to do in the project.
RIGHTS=(
  serviceusage.services.enable
  resourcemanager.projects.getIamPolicy resourcemanager.projects.setIamPolicy
  iam.serviceAccounts.list iam.serviceAccounts.create iam.serviceAccounts.actAs
  secretmanager.secrets.list secretmanager.secrets.create secretmanager.secrets.setIamPolicy
  secretmanager.versions.add secretmanager.versions.access
  cloudtasks.queues.create cloudtasks.queues.setIamPolicy
  run.services.create run.services.setIamPolicy
  cloudbuild.builds.create artifactregistry.repositories.create storage.buckets.create
)
REPAIR_RIGHTS=(run.jobs.create run.jobs.setIamPolicy cloudscheduler.jobs.create)
ALERT_RIGHTS=(monitoring.notificationChannels.create monitoring.alertPolicies.create)

check_tools() {
  command -v gcloud >/dev/null ||
    die "gcloud is not installed: https://cloud.google.com/sdk/docs/install"
  command -v curl >/dev/null ||
    die "curl is not installed: install it with the system's package manager."
  PYTHON=${PYTHON:-$HERE/.venv/bin/python}
  command -v "$PYTHON" >/dev/null || PYTHON=python3
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    die "Python 3.11 or newer is not installed: https://www.python.org/downloads/"
}

check_project() {
  # gcloud's log files would keep what it prints: the token, and values of secrets.
  export CLOUDSDK_CORE_DISABLE_PROMPTS=1 CLOUDSDK_CORE_DISABLE_FILE_LOGGING=1
  TOKEN=$(gcloud auth print-access-token 2>/dev/null) ||
    die "gcloud is not signed in: run  gcloud auth login"
  PROJECT=${PROJECT:-${CLOUDSDK_CORE_PROJECT:-$(gcloud config get-value project 2>/dev/null)}}
  [[ $PROJECT && $PROJECT != '(unset)' ]] ||
    die "no project is set: run  gcloud config set project PROJECT_ID  or give --project."
  export CLOUDSDK_CORE_PROJECT=$PROJECT
  PROJECT_NUMBER=$(gcloud projects describe "$PROJECT" --format='value(projectNumber)' \
    2>/dev/null) && [[ $PROJECT_NUMBER ]] ||
    die "there is no project '$PROJECT' that you may see: find its id with  gcloud projects list"
  URL=https://$SERVICE-$PROJECT_NUMBER.$REGION.run.app
  ACCOUNT=$SERVICE@$PROJECT.iam.gserviceaccount.com
}

check_billing() {
  local billing
  billing=$(gcloud billing projects describe "$PROJECT" --format='value(billingEnabled)') ||
    die "cannot tell whether project '$PROJECT' has billing: see gcloud's words above; it may take" \
      "gcloud services enable cloudbilling.googleapis.com --project=$PROJECT"
  [[ $billing == [Tt]rue ]] ||
    die "project '$PROJECT' has no billing: run  gcloud billing projects link $PROJECT" \
      "--billing-account ACCOUNT  with an account of  gcloud billing accounts list"
}

check_rights() { # gcloud has no command for this question: it is the API's own
  local body answer right missing=()
  if [[ $NIGHTLY != no ]]; then RIGHTS+=("${REPAIR_RIGHTS[@]}"); fi
  if wants_alerts; then RIGHTS+=("${ALERT_RIGHTS[@]}"); fi
  body=$(printf '"%s",' "${RIGHTS[@]}")
  # The token goes through a file descriptor: a command line can be read by others.
  answer=$(curl --silent --show-error --fail --max-time 30 \
    --config <(printf 'header = "Authorization: Bearer %s"\n' "$TOKEN") \
    --header 'Content-Type: application/json' --data "{\"permissions\":[${body%,}]}" \
    "https://cloudresourcemanager.googleapis.com/v1/projects/$PROJECT:testIamPermissions") ||
    die "cannot ask for your rights in project '$PROJECT'; if the API is off, run" \
      "gcloud services enable cloudresourcemanager.googleapis.com --project=$PROJECT"
  for right in "${RIGHTS[@]}"; do
    [[ $answer == *"\"$right\""* ]] || missing+=("$right")
  done
  ((${#missing[@]} == 0)) ||
    die "you may not do this in project '$PROJECT': ${missing[*]}. Have an owner run" \
      "gcloud projects add-iam-policy-binding $PROJECT --role=roles/owner --member=user:YOUR_EMAIL"
}

look_around() { # what is there before this run makes anything, and so what was chosen
  ENABLED=$(gcloud services list --enabled --format='value(config.name)')
  SECRETS='' LIVE='' JOBS='' SCHEDULES=''
  if is_enabled secretmanager && there gcloud secrets list \
    --format='value(name.basename(),labels.workspace)'; then SECRETS=$FOUND; fi
  if is_enabled run; then
    if there gcloud run services describe "$SERVICE" --region="$REGION" --format=json; then
      LIVE=$("$PYTHON" "$HERE/deploy/service.py" <<<"$FOUND")
    fi
    if there gcloud run jobs list --region="$REGION" --format="value(metadata.name,\
metadata.labels.workspace,metadata.labels.digest,metadata.labels.source,metadata.labels.days,\
spec.template.spec.template.spec.containers[0].image,metadata.labels.made-by)"; then
      JOBS=$(repairs_of "$FOUND" "${MADE_BY#*=}")
    fi
  fi
  if is_enabled cloudscheduler && there gcloud scheduler jobs list --location="$REGION" \
    --format='value(name.basename(),schedule,timeZone,httpTarget.uri,description)'; then
    SCHEDULES=$(repairs_of "$FOUND" "$MADE_BY")
  fi
}

repairs_of() { # TABLE MARK: print the rows of this service's repairs, which end with the mark
  awk -F '\t' -v mark="$2" -v name="^$SERVICE-(repair|weekly)(-[0-9a-f]+)?\$" \
    '$1 ~ name && $NF == mark' <<<"$1"
}

is_enabled() { grep -qxF "$1.googleapis.com" <<<"$ENABLED"; }

live() { # KEY: print what the service has there, nothing if there is no service
  sed -n "s/^$1=//p" <<<"$LIVE"
}

column() { # TABLE NAME NUMBER: print that column of the row that begins with the name
  awk -F '\t' -v name="$2" -v number="$3" '$1 == name { print $number }' <<<"$1"
}
